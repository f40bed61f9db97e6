/** Pointer and keyboard on the source's canvas become strokes. */

import { useEffect } from "preact/hooks";
import { pointOf } from "../sources/drawing.js";

/** @typedef {import("../sources/drawing.js").DrawingSource} DrawingSource */

/**
 * @param {DrawingSource | null} drawing null while another source runs
 * @param {HTMLCanvasElement} canvas
 * @returns {boolean} whether the canvas is drawn on
 */
export function useDrawing(drawing, canvas) {
  useEffect(() => (drawing ? attach(drawing, canvas) : undefined), [drawing, canvas]);
  return drawing !== null;
}

/**
 * @param {DrawingSource} drawing
 * @param {HTMLCanvasElement} canvas
 * @returns {() => void} detaches
 */
function attach(drawing, canvas) {
  const off = new AbortController();
  const { signal } = off;
  let pen = -1;
  const end = (/** @type {PointerEvent} */ event) => {
    if (event.pointerId !== pen) return;
    pen = -1;
    drawing.end();
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (pen !== -1 || event.button !== 0) return;
    pen = event.pointerId;
    canvas.setPointerCapture(pen);
    drawing.begin(pointOf(event, canvas));
  }, { signal });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pen) return;
    const events = event.getCoalescedEvents();
    for (const one of events.length ? events : [event]) drawing.extend(pointOf(one, canvas));
  }, { signal });
  // Of the document: a canvas that another view hides is told of no end.
  for (const name of /** @type {const} */ (["pointerup", "pointercancel", "lostpointercapture"])) {
    document.addEventListener(name, end, { signal });
  }
  return () => {
    off.abort();
    drawing.end();
  };
}
