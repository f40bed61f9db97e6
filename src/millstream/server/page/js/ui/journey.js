/** The timeline of a travel between prompts. */

import { useState } from "preact/hooks";
import { Travel } from "../travel.js";
import { html } from "./html.js";

/** @typedef {import("../travel.js").Stop} Stop */

const SECONDS = 8;

/** @param {{show: import("../show.js").Show}} props */
export function Journey({ show }) {
  const { settings } = show;
  const [travel] = useState(() => new Travel(settings, show.role));
  const stops = travel.stops.value;
  const moving = travel.elapsed.value !== null;
  /** @param {number} i @param {Partial<Stop>} part */
  const put = (i, part) => (travel.stops.value = stops.map((stop, k) => (k === i ? { ...stop, ...part } : stop)));
  return html`
    <div class="journey">
      <ol>${stops.map((stop, i) => html`<${Leg} key=${i} i=${i} stop=${stop} put=${put}
        drop=${() => (travel.stops.value = stops.filter((_, k) => k !== i))} />`)}</ol>
      ${stops.length > 1 && html`<${Timeline} travel=${travel} />`}
      <div class="row">
        <button type="button" onClick=${() => (travel.stops.value = [...stops, next(stops, settings)])}>Add a stop</button>
        <label><input type="checkbox" checked=${travel.loop.value}
          onChange=${(/** @type {any} */ event) => (travel.loop.value = event.currentTarget.checked)} /> to and fro</label>
        <button type="button" class="main" disabled=${stops.length < 2}
          onClick=${() => (moving ? travel.stop() : travel.start())}>${moving ? "Stop" : "Travel"}</button>
      </div>
    </div>`;
}

/** The first stop is where the stream is now. @param {Stop[]} stops @param {import("../settings.js").Settings} settings */
function next(stops, settings) {
  const prompt = /** @type {{text: string}[]} */ (settings.value("prompt"));
  return { text: stops.length ? "" : (prompt[0]?.text ?? ""), seconds: stops.length ? SECONDS : 0 };
}

/** @param {{i: number, stop: Stop, put: (i: number, part: Partial<Stop>) => void, drop: () => void}} props */
function Leg({ i, stop, put, drop }) {
  return html`
    <li>
      <input type="text" value=${stop.text} placeholder="What to draw" maxlength="2000" aria-label="Stop ${i + 1}: prompt"
        onInput=${(/** @type {any} */ event) => put(i, { text: event.currentTarget.value })} />
      ${i === 0 ? html`<span class="unit">from</span>` : html`
        <input type="number" min="0.5" max="600" step="0.5" value=${stop.seconds} aria-label="Stop ${i + 1}: seconds on the way"
          onChange=${(/** @type {any} */ event) => put(i, { seconds: Math.max(0.5, event.currentTarget.valueAsNumber || SECONDS) })} />
        <span class="unit">s</span>`}
      <button type="button" aria-label="Remove stop ${i + 1}" onClick=${drop}>×</button>
    </li>`;
}

/** @param {{travel: Travel}} props */
function Timeline({ travel }) {
  const elapsed = travel.elapsed.value ?? 0;
  const words = `${elapsed.toFixed(0)} of ${travel.length} seconds`;
  return html`
    <div class="timeline" role="progressbar" aria-label="Travel" aria-valuemin="0" aria-valuemax=${travel.length}
      aria-valuenow=${elapsed.toFixed(1)} aria-valuetext=${words} style=${{ "--done": elapsed / travel.length }}>
      ${travel.stops.value.slice(1).map((stop) => html`<i style=${{ flexGrow: stop.seconds }}></i>`)}
    </div>`;
}
