/** What a source of pictures is. It keeps its newest picture only, and gives it when asked. */

import { now } from "../protocol.js";

/** @typedef {"demo" | "camera" | "screen" | "drawing" | "file"} Kind */

/**
 * @typedef {object} Source
 * @property {Kind} kind
 * @property {(fresh: () => void) => Promise<void>} start calls `fresh` whenever there is a new picture; throws `Error`
 * @property {() => void} stop
 * @property {(context: CanvasRenderingContext2D) => number} paint fills the canvas; gives the capture time in ms
 * @property {() => import("../protocol.js").Size | null} size the picture's own size, once known
 */

const LONGEST_AGO = 1000; // milliseconds: a capture time further back is of another clock

/**
 * Paint the middle of a picture so that it fills the canvas.
 * @param {CanvasRenderingContext2D} context
 * @param {CanvasImageSource} image
 * @param {number} width of the image
 * @param {number} height of the image
 */
export function cover(context, image, width, height) {
  const canvas = context.canvas;
  const scale = Math.max(canvas.width / width, canvas.height / height);
  const [w, h] = [canvas.width / scale, canvas.height / scale];
  context.drawImage(image, (width - w) / 2, (height - h) / 2, w, h, 0, 0, canvas.width, canvas.height);
}

/**
 * @param {number | undefined} captured milliseconds since the page began, as browsers give for cameras
 * @returns {number} milliseconds of the clock of captures
 */
export function captureTime(captured) {
  const moment = performance.now();
  const known = captured !== undefined && captured <= moment && moment - captured < LONGEST_AGO;
  return known ? performance.timeOrigin + captured : now();
}
