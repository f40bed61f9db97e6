/** The page's parts in their order: bar, stage, controls, figures. */

import { wordsFor } from "../words.js";
import { Bar } from "./bar.js";
import { Help } from "./help.js";
import { html } from "./html.js";
import { Panel } from "./panel.js";
import { Stage } from "./stage.js";
import { Figures } from "./figures.js";

/** @typedef {{show: import("../show.js").Show, sources: import("../sources/choice.js").Sources, look: import("./look.js").Look}} Parts */

/** @param {Parts} parts */
export function App(parts) {
  const { show, look } = parts;
  return html`
    <div class="app" data-bare=${look.bare.value} data-phase=${show.phase.value}>
      <a class="skip" href="#controls">To the controls</a>
      <${Bar} ...${parts} />
      <${Stage} ...${parts} />
      <${Panel} ...${parts} />
      <${Figures} show=${show} />
      <${Announcer} ...${parts} />
      <${Help} look=${look} />
    </div>`;
}

/** Says every change of state to those who do not see it. @param {Parts} parts */
function Announcer({ show, sources }) {
  const { building } = show.settings;
  const built = building.value && `Rebuilding for ${building.value}`;
  const words = [wordsFor(show.phase.value, show.role.value), built, show.notice.text.value, sources.fault.value];
  return html`<p class="unseen" role="status" aria-live="polite">${words.filter(Boolean).join(". ")}</p>`;
}
