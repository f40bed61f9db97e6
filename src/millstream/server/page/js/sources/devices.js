/** Camera and screen, by way of a video element. */

import { VideoSource } from "./video.js";

const INSECURE = "the browser gives no camera or screen to http:// on another host: open the page through https or a tunnel";

/**
 * @param {string} device of `cameras()`; empty: the browser chooses
 * @param {() => void} [ended]
 */
export function cameraSource(device, ended) {
  return new VideoSource("camera", async (video) => {
    const wanted = { ...(device && { deviceId: device }), width: { ideal: 1280 }, frameRate: { ideal: 30 } };
    video.srcObject = await media().getUserMedia({ video: wanted }).catch(explain);
  }, ended);
}

/** @param {() => void} [ended] */
export function screenSource(ended) {
  return new VideoSource("screen", async (video) => {
    video.srcObject = await media().getDisplayMedia({ video: { frameRate: 30 } }).catch(explain);
  }, ended);
}

/** @returns {Promise<MediaDeviceInfo[]>} cameras, with names once one was allowed */
export async function cameras() {
  const devices = await (navigator.mediaDevices?.enumerateDevices() ?? []);
  return devices.filter(({ kind }) => kind === "videoinput");
}

function media() {
  if (!navigator.mediaDevices) throw new Error(INSECURE);
  return navigator.mediaDevices;
}

/**
 * @param {DOMException} fault
 * @returns {never}
 */
function explain(fault) {
  const cures = /** @type {Record<string, string>} */ ({
    NotAllowedError: "not allowed: permit it in the address bar, then choose the source again",
    NotFoundError: "no camera found: plug one in, then choose the source again",
    NotReadableError: "the camera is in use by another program: close that one, then choose the source again",
  });
  throw new Error(cures[fault.name] ?? fault.message);
}
