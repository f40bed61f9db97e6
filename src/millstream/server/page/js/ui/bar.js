/** The bar on top: sources on the left, what is done with the result on the right. */

import { KINDS } from "../sources/choice.js";
import { BRIEFLY } from "../words.js";
import { html } from "./html.js";
import { VIEWS } from "./look.js";

/** @typedef {import("./app.js").Parts} Parts */

/** @type {Record<import("./look.js").View, string>} */
const VIEW_NAMES = { side: "Side by side", result: "Result", split: "Split" };

/** @param {Parts} parts */
export function Bar(parts) {
  return html`
    <header class="bar">
      <h1>millstream</h1>
      <${State} show=${parts.show} />
      <${SourceChoice} ...${parts} />
      <${ViewChoice} look=${parts.look} />
      <${Actions} ...${parts} />
    </header>`;
}

/** @param {{show: import("../show.js").Show}} props */
function State({ show }) {
  const phase = show.phase.value;
  const words = phase === "live" && show.role.value === "view" ? "Watching" : BRIEFLY[phase];
  return html`<p class="state" data-phase=${phase}><i aria-hidden="true"></i><span>${words}</span></p>`;
}

/** @param {Parts} parts */
function SourceChoice({ sources, look }) {
  return html`
    <div class="choice" role="group" aria-label="Source">
      ${KINDS.map((kind) => html`
        <button type="button" aria-pressed=${sources.kind.value === kind}
          onClick=${() => (kind === "file" ? look.askFile() : sources.choose(kind))}>${kind}</button>`)}
      <input id="file" class="unseen" type="file" accept="video/*" aria-label="Video file" tabindex="-1"
        onChange=${(/** @type {any} */ event) => takeFile(event.currentTarget, sources)} />
    </div>`;
}

/**
 * @param {HTMLInputElement} input
 * @param {import("../sources/choice.js").Sources} sources
 */
function takeFile(input, sources) {
  const file = input.files?.[0];
  input.value = ""; // or the same file could not be chosen again
  if (file) sources.choose("file", file);
}

/** @param {{look: import("./look.js").Look}} props */
function ViewChoice({ look }) {
  return html`
    <div class="choice views" role="group" aria-label="View">
      ${VIEWS.map((view) => html`
        <button type="button" aria-pressed=${look.view.value === view}
          onClick=${() => (look.view.value = view)}>${VIEW_NAMES[view]}</button>`)}
    </div>`;
}

/** @param {Parts} parts */
function Actions({ show, look }) {
  const recording = show.recording.value;
  const watches = show.role.value === "view";
  return html`
    <div class="actions">
      <button type="button" disabled=${watches} onClick=${() => show.snapshot()}>Snapshot</button>
      <button type="button" class="record" aria-pressed=${recording} disabled=${watches} onClick=${() => show.record()}>
        ${recording ? "End recording" : "Record"}</button>
      <button type="button" disabled=${watches || show.settings.undoable.value === 0}
        onClick=${() => show.settings.undo()}>Undo</button>
      <button type="button" onClick=${() => look.toggleFullScreen()}>Full screen</button>
      <button type="button" class="slight" aria-label="Colours: ${look.theme.value}" title="Colours: ${look.theme.value}" onClick=${() => look.nextTheme()}>◐</button>
      <button type="button" class="slight" aria-label="Keyboard shortcuts" onClick=${() => look.toggleHelp()}>?</button>
    </div>`;
}
