/** The controls: what changes at once on top, what is rebuilt below. */

import { useEffect, useState } from "preact/hooks";
import { call } from "../api.js";
import { idle } from "../idle.js";
import { Control } from "./fields.js";
import { Files, Share } from "./files.js";
import { html } from "./html.js";
import { Journey } from "./journey.js";
import { Presets } from "./presets.js";
import { Prompts } from "./prompts.js";

/** @typedef {import("../settings.js").Settings} Settings */
/** @typedef {import("../schema.js").Field} Field */
/** @typedef {import("../schema.js").Part} Part */

/** @param {import("./app.js").Parts} parts */
export function Panel({ show, sources }) {
  const { settings } = show;
  const watches = show.role.value === "view";
  return html`
    <aside class="panel" id="controls" tabindex="-1" aria-label="Controls">
      <fieldset disabled=${watches}>
        <legend class="unseen">Settings</legend>
        <${CameraChoice} sources=${sources} />
        <${Section} title="Prompt" open>
          <${Prompt} settings=${settings} />
          <${FieldList} settings=${settings} part="params" only=${["negative_prompt", "strength", "seed"]} />
        <//>
        <${Section} title="Travel"><${Journey} show=${show} /><//>
        <${Section} title="Look" open>
          <${FieldList} settings=${settings} part="params" but=${["prompt", "negative_prompt", "strength", "seed"]} />
        <//>
        <${Section} title="Presets"><${Presets} settings=${settings} /><//>
        <${Section} title="Stream" note="rebuilt"><${FieldList} settings=${settings} part="config" /><//>
        <${Section} title="Model" note="rebuilt"><${ModelDraft} settings=${settings} /><//>
      </fieldset>
      <${Section} title="Files" open=${show.files.value.length > 0}><${Files} show=${show} /><//>
      <${Section} title="Share"><${Share} session=${show.session.value} token=${show.viewers.value} /><//>
    </aside>`;
}

/** @param {{title: string, note?: string, open?: boolean, children?: any}} props */
function Section({ title, note, open = false, children }) {
  return html`
    <details open=${open}>
      <summary><h2>${title}</h2>${note && html`<span class="note">${note}</span>`}</summary>
      <div class="body">${children}</div>
    </details>`;
}

/** @param {{sources: import("../sources/choice.js").Sources}} props */
function CameraChoice({ sources }) {
  const cameras = sources.cameras.value;
  if (sources.kind.value !== "camera" || cameras.length < 2) return null;
  return html`
    <div class="field choice"><label for="camera">camera</label>
      <select id="camera" onChange=${(/** @type {any} */ event) => sources.chooseCamera(event.currentTarget.value)}>
        ${cameras.map(({ deviceId, label }) => html`<option value=${deviceId} selected=${deviceId === sources.camera.value}>${label}</option>`)}
      </select></div>`;
}

/** @param {{settings: Settings}} props */
function Prompt({ settings }) {
  const field = settings.fields.value.find(({ widget }) => widget === "prompts");
  if (!field) return null;
  return html`<${Prompts} field=${field} value=${settings.value(field.name)} fault=${settings.faults.value[field.name]}
    change=${(/** @type {unknown} */ value) => settings.set(field.name, value)} />`;
}

/** @param {{settings: Settings, part: "params" | "config", only?: string[], but?: string[]}} props */
function FieldList({ settings, part, only, but = [] }) {
  const names = (/** @type {Field} */ { name }) => (only ? only.includes(name) : !but.includes(name));
  const live = part === "params";
  return settings.fields.value.filter((field) => field.part === part && names(field)).map((field) => html`
    <${Control} key=${field.name} field=${field} live=${live} value=${settings.values.value[part][field.name]}
      fault=${settings.faults.value[field.name]} idle=${idle(field.name, settings.values.value)}
      change=${(/** @type {unknown} */ value) => (live ? settings.set(field.name, value) : settings.change({ config: { [field.name]: value } }))} />`);
}

/** A model's fields belong together: they are changed with one button. @param {{settings: Settings}} props */
function ModelDraft({ settings }) {
  const [known, setKnown] = useState(/** @type {string[]} */ ([]));
  useEffect(() => void call("models").then(({ names }) => setKnown(names), () => {}), []);
  const [draft, setDraft] = useState(/** @type {Record<string, unknown>} */ ({}));
  const model = { ...settings.values.value.model, ...draft };
  const load = () => settings.change({ model: draft }).then(() => setDraft({}));
  return html`
    ${settings.fields.value.filter(({ part }) => part === "model").map((field) => html`
      <${Control} key=${field.name} field=${field} value=${model[field.name]} fault=${settings.faults.value[field.name]}
        change=${(/** @type {unknown} */ value) => setDraft({ ...draft, [field.name]: value })} />`)}
    <datalist id="model-name-known">${known.map((name) => html`<option value=${name}></option>`)}</datalist>
    <button type="button" class="main" disabled=${Object.keys(draft).length === 0} onClick=${load}>Load the model</button>`;
}
