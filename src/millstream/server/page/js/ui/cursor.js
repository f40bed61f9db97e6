/** Where the keys have the brush: a ring of its size on the picture, and words for those who do not see it. */

import { useEffect, useState } from "preact/hooks";
import { shownIn } from "../sources/drawing.js";
import { html } from "./html.js";

/** @typedef {{drawing: import("../sources/drawing.js").DrawingSource, canvas: HTMLCanvasElement}} Props */

export const HINT = "drawing-hint";

/** @param {Props} props */
export function Cursor({ drawing, canvas }) {
  const { x, y } = drawing.place.value;
  const style = { "--x": x, "--y": y, "--size": drawing.brush.value.size };
  return html`
    <div class="pane cursor"><div><i style=${style} data-down=${drawing.pen.value !== null}></i></div></div>
    <p id=${HINT} class="unseen">Arrows move the brush, with Shift further. Space or Enter puts it down and lifts it.</p>
    <p class="unseen" role="status">${useWords(drawing, canvas)}</p>`;
}

/**
 * @param {Props["drawing"]} drawing
 * @param {Props["canvas"]} canvas
 * @returns {string} what the last key has led to: said when it is let go, or one that is held were said at every step
 */
function useWords(drawing, canvas) {
  const [words, say] = useState("");
  useEffect(() => {
    const tell = () => say(wordsFor(drawing, canvas));
    canvas.addEventListener("keyup", tell);
    return () => canvas.removeEventListener("keyup", tell);
  }, [drawing, canvas]);
  return words;
}

/**
 * @param {Props["drawing"]} drawing
 * @param {Props["canvas"]} canvas
 */
function wordsFor({ brush, pen, place }, canvas) {
  const [wide, high] = shownIn(canvas);
  const { x, y } = place.value;
  const tool = `${brush.value.eraser ? "Eraser" : "Brush"} ${pen.value === null ? "up" : "down"}`;
  return `${tool}: ${percent(x, wide)} from the left, ${percent(y, high)} from the top`;
}

/**
 * @param {number} part of the drawing
 * @param {number} shown how much of it is seen, about its middle
 */
function percent(part, shown) {
  return `${Math.round(50 + (100 * (part - 0.5)) / shown)} %`;
}
