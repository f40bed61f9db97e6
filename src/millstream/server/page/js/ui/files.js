/** What was made: snapshots and recordings to take home, and the link for those who watch. */

import { useState } from "preact/hooks";
import { url, viewersAddress } from "../api.js";
import { inBytes } from "../words.js";
import { html } from "./html.js";

/** @param {{show: import("../show.js").Show}} props */
export function Files({ show }) {
  const files = show.files.value;
  if (files.length === 0) return html`<p class="hint">Snapshots and recordings of this visit appear here.</p>`;
  return html`
    <ul class="files">${files.map((file) => html`
      <li><a href=${url(file.url).href} download=${file.name}>${file.name}</a>
        <span class="hint">${file.seconds === undefined ? "" : `${file.seconds.toFixed(1)} s, `}${inBytes(file.bytes)}</span></li>`)}
    </ul>`;
}

/** @param {{session: string, token: string}} props the token opens this session to be watched, and no more */
export function Share({ session, token }) {
  const [copied, setCopied] = useState(false);
  const address = viewersAddress(session, token);
  const copy = async () => {
    await navigator.clipboard?.writeText(address);
    setCopied(Boolean(navigator.clipboard));
  };
  return html`
    <div class="row share">
      <input type="text" readonly value=${address} aria-label="Link for viewers" onFocus=${(/** @type {any} */ event) => event.currentTarget.select()} />
      <button type="button" onClick=${copy}>${copied ? "Copied" : "Copy"}</button>
    </div>
    <p class="hint">The picture alone: for friends, and as a browser source in OBS.</p>`;
}
