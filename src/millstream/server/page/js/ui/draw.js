/** Pointer and keyboard on the source's canvas become strokes. */

import { useEffect } from "preact/hooks";
import { pointOf, shownIn, STEADY } from "../sources/drawing.js";
import { HINT } from "./cursor.js";

/** @typedef {import("../sources/drawing.js").DrawingSource} DrawingSource */
/** @typedef {import("../sources/drawing.js").Point} Point */

const STEP = 0.02; // of an arrow key, in parts of the drawing
const LEAP = 0.1; // with Shift
/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

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
  followPointer(drawing, canvas, off.signal);
  followKeys(drawing, canvas, off.signal);
  canvas.tabIndex = 0;
  canvas.setAttribute("aria-describedby", HINT);
  return () => {
    off.abort();
    drawing.end();
    for (const name of ["tabindex", "aria-describedby"]) canvas.removeAttribute(name);
  };
}

/**
 * @param {DrawingSource} drawing
 * @param {HTMLCanvasElement} canvas
 * @param {AbortSignal} signal
 */
function followPointer(drawing, canvas, signal) {
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.blur(); // so that the keys give way: the focus that a pointer brings shows no cursor
    if (drawing.pen.value !== null) return;
    canvas.setPointerCapture(event.pointerId);
    drawing.begin(pointOf(event, canvas), event.pointerId);
  }, { signal });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== drawing.pen.value) return;
    const events = event.getCoalescedEvents();
    for (const one of events.length ? events : [event]) drawing.extend(pointOf(one, canvas));
  }, { signal });
  const end = (/** @type {PointerEvent} */ event) => lift(drawing, event.pointerId);
  // Of the document: a canvas that another view hides is told of no end.
  for (const name of /** @type {const} */ (["pointerup", "pointercancel", "lostpointercapture"])) {
    document.addEventListener(name, end, { signal });
  }
}

/**
 * @param {DrawingSource} drawing
 * @param {HTMLCanvasElement} canvas
 * @param {AbortSignal} signal
 */
function followKeys(drawing, canvas, signal) {
  canvas.addEventListener("keydown", (event) => {
    if (press(event, drawing, canvas)) event.preventDefault();
  }, { signal });
  canvas.addEventListener("blur", () => lift(drawing, "keys"), { signal });
}

/**
 * A brush that stays down until it is lifted asks for one key at a time, as switches and screen readers give them.
 * @param {KeyboardEvent} event
 * @param {DrawingSource} drawing
 * @param {HTMLCanvasElement} canvas
 * @returns {boolean} whether the key is one of the drawing's
 */
function press(event, drawing, canvas) {
  if (event.ctrlKey || event.altKey || event.metaKey) return false;
  const way = ARROWS[event.key];
  if (way) move(drawing, ahead(drawing, canvas, way, event.shiftKey ? LEAP : STEP));
  else if (event.key === "Escape") lift(drawing, "keys");
  else if (event.key !== " " && event.key !== "Enter") return false;
  else if (!event.repeat) toggle(drawing, ahead(drawing, canvas));
  return true;
}

/**
 * @param {DrawingSource} drawing
 * @param {HTMLCanvasElement} canvas
 * @param {[number, number]} [way]
 * @param {number} [step]
 * @returns {Point} this far from the brush, and on the part of the drawing that is seen: a pointer may have left it
 */
function ahead(drawing, canvas, [right, down] = [0, 0], step = 0) {
  const [wide, high] = shownIn(canvas);
  const { x, y } = drawing.place.value;
  return { x: within(x + right * step, wide), y: within(y + down * step, high), pressure: STEADY };
}

/**
 * @param {number} part
 * @param {number} shown how much of the drawing is seen, about its middle
 */
function within(part, shown) {
  return Math.min(0.5 + shown / 2, Math.max(0.5 - shown / 2, part));
}

/**
 * @param {DrawingSource} drawing
 * @param {Point} point
 */
function move(drawing, point) {
  if (typeof drawing.pen.value !== "number") drawing.extend(point); // else a pointer draws
}

/**
 * @param {DrawingSource} drawing
 * @param {Point} point
 */
function toggle(drawing, point) {
  if (drawing.pen.value === null) drawing.begin(point, "keys");
  else lift(drawing, "keys");
}

/**
 * @param {DrawingSource} drawing
 * @param {import("../sources/drawing.js").Pen} pen
 */
function lift(drawing, pen) {
  if (drawing.pen.value === pen) drawing.end();
}
