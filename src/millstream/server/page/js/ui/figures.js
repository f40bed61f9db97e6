/** The figures below the pictures: what the server counts, and what this page measures. */

import { inBytes } from "../words.js";
import { html } from "./html.js";

/** @param {{show: import("../show.js").Show}} props */
export function Figures({ show }) {
  const { fps, age, sent, tooOld } = show.seen.value;
  const stats = show.stats.value;
  const ages = age && [age.p50, age.p95, age.p99].map(Math.round).join(" / ");
  /** @type {[string, string, unknown][]} */
  const rows = [
    ["in", "pictures a second that reach the engine", stats?.fps_in?.toFixed(1)],
    ["shown", "results a second shown on this page", fps],
    ["age ms", "age of a result when it is shown: p50, p95, p99", ages],
    ["skipped", "pictures that hardly differed from the last", stats?.skipped],
    ["dropped", "pictures that a newer one replaced", stats?.dropped],
    ["too old", "results older than the bound, not shown", (stats?.aged ?? 0) + tooOld || null],
    ["back end", "what computes", stats?.backend],
    ["device", "where it computes", stats?.device ?? (show.device.value || null)],
    ["memory", "of the engine", stats?.memory && inBytes(stats.memory)],
    ["size", "of the pictures", stats?.width && `${stats.width}×${stats.height}`],
    ["steps", "of the model", stats?.steps],
    ["traded", "given up for the bound on the age", stats?.traded?.join(", ")],
    ["watching", "pages that show this session", stats?.viewers],
  ];
  return html`
    <footer class="figures" aria-label="Figures" data-painted=${sent} data-revision=${show.shown.value?.revision}>
      <dl>${rows.map(([name, meaning, value]) => (value === undefined || value === null || value === "" ? null : html`
        <div title=${meaning}><dt>${name}</dt><dd>${value}</dd></div>`))}</dl>
    </footer>`;
}
