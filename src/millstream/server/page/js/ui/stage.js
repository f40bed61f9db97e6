/** The pictures: source and result, in one of three views. The canvases live outside of the markup and are never remade. */

import { useEffect, useRef } from "preact/hooks";
import { wordsFor } from "../words.js";
import { Cursor } from "./cursor.js";
import { DrawingTools } from "./drawing_tools.js";
import { useDrawing } from "./draw.js";
import { html } from "./html.js";

/** @typedef {import("./app.js").Parts} Parts */

const QUIET = ["live", "warming", "connecting"]; // phases in which the last picture needs no words on it

const CONNECTED = ["live", "late", "stalled", "warming"];
const OVER = ["idle", "replaced", "failed"]; // phases that a user ends

/** @param {Parts} parts */
export function Stage({ show, sources, look }) {
  const { sender, presenter } = show;
  const drawing = sources.kind.value === "drawing" ? sources.drawing : null;
  const [width, height] = show.size.value;
  const style = { "--ratio": width / height, "--split": `${look.split.value}%` };
  const pencil = useDrawing(drawing, sender.canvas);
  return html`
    <main class="stage" data-view=${look.view.value} data-started=${show.started.value} data-full=${look.full.value} style=${style}>
      <${Pane} name="source" label="Source: ${sources.kind.value ?? "none"}" canvas=${sender.canvas} pencil=${pencil} />
      <${Pane} name="result" label="Result" canvas=${presenter.canvas} />
      ${look.view.value === "split" && html`<${Divider} look=${look} />`}
      ${!show.started.value && html`<p class="first">${wordsFor(show.phase.value, show.role.value)}</p>`}
      <${Words} show=${show} sources=${sources} />
      ${look.full.value === "window" && html`
        <button type="button" class="leave" onClick=${() => look.toggleFullScreen()}>Leave full screen</button>`}
      ${drawing && html`<${Cursor} drawing=${drawing} canvas=${sender.canvas} /><${DrawingTools} drawing=${drawing} />`}
    </main>`;
}

/** @param {{name: string, label: string, canvas: HTMLCanvasElement, pencil?: boolean}} props */
function Pane({ name, label, canvas, pencil = false }) {
  const home = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => home.current?.prepend(canvas), []);
  canvas.setAttribute("role", pencil ? "application" : "img"); // an application is given the arrows by screen readers
  canvas.setAttribute("aria-label", label);
  return html`<figure class="pane ${name}" data-pencil=${pencil} ref=${home}><figcaption>${label}</figcaption></figure>`;
}

/** @param {{look: import("./look.js").Look}} props */
function Divider({ look }) {
  return html`
    <input class="divider" type="range" min="0" max="100" value=${look.split.value} aria-label="Split of source and result"
      onInput=${(/** @type {any} */ event) => (look.split.value = Number(event.currentTarget.value))} />`;
}

/** What went wrong, on the pictures but never in place of them. @param {Pick<Parts, "show" | "sources">} parts */
function Words({ show, sources }) {
  const phase = show.phase.value;
  const state = QUIET.includes(phase) || !show.started.value ? "" : wordsFor(phase, show.role.value);
  const nameless = show.settings.faults.value[""];
  const notice = show.notice.text.value;
  const watching = show.role.value === "view" && CONNECTED.includes(phase);
  return html`
    <div class="words">
      ${state && html`<p>${state}</p>`}
      ${OVER.includes(phase) && html`<p><button type="button" onClick=${() => show.connect()}>Start again</button></p>`}
      ${watching && html`<p>Another page controls this session
        <button type="button" onClick=${() => show.takeControl()}>Take control</button></p>`}
      ${show.settings.building.value && html`<p class="building">Rebuilding for ${show.settings.building.value}: the picture goes on until it is ready</p>`}
      ${nameless && html`<p role="alert">${nameless}
        <button type="button" onClick=${() => show.settings.forgive()}>Close</button></p>`}
      ${sources.fault.value && html`<p>${sources.fault.value}</p>`}
      ${notice && html`<p class="notice">${notice}
        <button type="button" onClick=${() => show.notice.close()}>Close</button></p>`}
    </div>`;
}
