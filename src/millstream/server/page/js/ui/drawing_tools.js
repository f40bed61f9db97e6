/** Brush, eraser, colour, size, undo. */

import { LARGEST, SMALLEST } from "../sources/drawing.js";
import { html } from "./html.js";

const PALETTE = {
  "#22223b": "ink", "#d1495b": "red", "#edae49": "yellow", "#66a182": "green", "#2e86ab": "blue", "#8d5a97": "violet", "#ffffff": "white",
};

/** @param {{drawing: import("../sources/drawing.js").DrawingSource}} props */
export function DrawingTools({ drawing }) {
  const { colour, size, eraser } = drawing.brush.value;
  return html`
    <div class="tools" role="toolbar" aria-label="Drawing">
      ${Object.entries(PALETTE).map(([value, name]) => html`
        <button type="button" class="ink" aria-label=${name} aria-pressed=${!eraser && colour === value}
          style=${{ "--ink": value }} onClick=${() => drawing.use({ colour: value, eraser: false })}></button>`)}
      <input type="color" aria-label="Other colour" value=${colour}
        onInput=${(/** @type {any} */ event) => drawing.use({ colour: event.currentTarget.value, eraser: false })} />
      <button type="button" aria-pressed=${eraser} onClick=${() => drawing.use({ eraser: !eraser })}>Eraser</button>
      <input type="range" aria-label="Size of the brush" min=${SMALLEST} max=${LARGEST} step="0.002" value=${size}
        onInput=${(/** @type {any} */ event) => drawing.use({ size: Number(event.currentTarget.value) })} />
      <button type="button" onClick=${() => drawing.undo()}>Undo stroke</button>
      <button type="button" onClick=${() => drawing.clear()}>Clear</button>
    </div>`;
}
