/** Presets: the settings under a name, kept by the server. */

import { useEffect, useState } from "preact/hooks";
import { call } from "../api.js";
import { html } from "./html.js";

/** @param {{settings: import("../settings.js").Settings}} props */
export function Presets({ settings }) {
  const [names, setNames] = useState(/** @type {string[]} */ ([]));
  const [name, setName] = useState("");
  const [fault, setFault] = useState("");
  /** @param {() => Promise<unknown>} work */
  const act = (work) => work().then(list, (error) => setFault(error.message));
  const list = async () => {
    setNames((await call("presets")).names);
    setFault("");
  };
  useEffect(() => void list().catch((error) => setFault(error.message)), []);
  /** @param {Event} event */
  const save = (event) => {
    event.preventDefault();
    act(() => call(`presets/${encodeURIComponent(name)}`, "PUT", settings.values.value));
  };
  return html`
    <form class="presets" onSubmit=${save}>
      <ul>${names.map((one) => html`
        <li><button type="button" onClick=${() => act(() => load(one, settings))}>${one}</button>
          <button type="button" class="slight" aria-label="Delete ${one}"
            onClick=${() => act(() => call(`presets/${encodeURIComponent(one)}`, "DELETE"))}>×</button></li>`)}
      </ul>
      <div class="row">
        <input type="text" value=${name} required maxlength="64" placeholder="Name" aria-label="Name of the preset"
          onInput=${(/** @type {any} */ event) => setName(event.currentTarget.value)} />
        <button>Save</button>
      </div>
      ${fault && html`<p class="fault" role="alert">${fault}</p>`}
    </form>`;
}

/**
 * @param {string} name
 * @param {import("../settings.js").Settings} settings
 */
async function load(name, settings) {
  await settings.apply(await call(`presets/${encodeURIComponent(name)}`));
}
