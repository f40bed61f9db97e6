/** Video files: the user's own, and the animated demo clip that the server draws. */

import { url } from "../api.js";
import { VideoSource } from "./video.js";

/** @param {File} file */
export function fileSource(file) {
  return new VideoSource("file", (video) => load(video, URL.createObjectURL(file), file.name));
}

export function demoSource() {
  return new VideoSource("demo", (video) => load(video, url("/api/v1/demo.webm").href, "the demo clip"));
}

/**
 * @param {HTMLVideoElement} video
 * @param {string} address
 * @param {string} name
 * @returns {Promise<void>}
 */
function load(video, address, name) {
  return new Promise((resolve, reject) => {
    video.onloadeddata = () => resolve();
    video.onerror = () => reject(new Error(`${name}: the browser cannot play it; give a WebM or MP4 file`));
    video.src = address;
  });
}
