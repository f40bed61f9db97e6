/** One control for a field of the schema, with its label, its description and its fault. */

import { html } from "./html.js";

/** @typedef {import("../schema.js").Field} Field */
/**
 * @typedef {object} Held
 * @property {Field} field
 * @property {unknown} value
 * @property {string} [fault]
 * @property {string} [idle] why it has no effect now
 * @property {boolean} [live] whether every movement counts, or only its end
 * @property {(value: any) => void} change
 */

/** @param {Held} props */
export function Control(props) {
  const { field, fault, idle = "" } = props;
  const id = `${field.part}-${field.name}`;
  const Widget = WIDGETS[field.widget];
  if (!Widget) return null;
  return html`
    <div class="field ${field.widget}" data-faulty=${Boolean(fault)} data-idle=${Boolean(idle)}>
      <label for=${id}>${field.label}</label>
      <${Widget} ...${props} id=${id} />
      <p class="hint" id="${id}-hint">${field.description}${idle && html` <em>(no effect ${idle})</em>`}</p>
      ${fault && html`<p class="fault" role="alert">${fault}</p>`}
    </div>`;
}

/** @typedef {Held & {id: string}} Identified */
/** @typedef {import("preact").TargetedEvent<HTMLInputElement>} Typed */

/** @type {Partial<Record<import("../schema.js").Widget, (props: Identified) => import("preact").VNode>>} */
const WIDGETS = { switch: Switch, choice: Choice, slider: Slider, number: Numeral, text: Line, numbers: Numerals, adapters: Adapters };

/** @param {Identified} props */
function Switch({ id, value, change }) {
  return html`<input type="checkbox" role="switch" id=${id} checked=${value} aria-describedby="${id}-hint"
    onChange=${(/** @type {Typed} */ event) => change(event.currentTarget.checked)} />`;
}

/** @param {Identified} props */
function Choice({ id, field, value, change }) {
  return html`<select id=${id} aria-describedby="${id}-hint" value=${value}
    onChange=${(/** @type {any} */ event) => change(event.currentTarget.value)}>
    ${field.choices.map((choice) => html`<option value=${choice} selected=${choice === value}>${choice}</option>`)}
  </select>`;
}

/** @param {Identified} props */
function Slider({ id, field, value, change, live }) {
  const bounds = { min: field.min, max: field.max, step: field.step, value };
  const take = (/** @type {Typed} */ event) => Number.isFinite(event.currentTarget.valueAsNumber) && change(event.currentTarget.valueAsNumber);
  return html`
    <input type="range" id=${id} ...${bounds} aria-describedby="${id}-hint" ...${live ? { onInput: take } : { onChange: take }} />
    <input type="number" ...${bounds} aria-label="${field.label}, typed" onChange=${take} />`;
}

/** @param {Identified} props */
function Numeral({ id, field, value, change }) {
  const take = (/** @type {Typed} */ { currentTarget: input }) => {
    if (!Number.isNaN(input.valueAsNumber)) change(input.valueAsNumber);
    else if (field.optional) change(null);
  };
  return html`
    <input type="number" id=${id} min=${field.min} max=${field.max} step=${field.step} value=${value ?? ""}
      placeholder=${field.optional ? "none" : ""} aria-describedby="${id}-hint" onChange=${take} />
    ${field.name === "seed" && html`<button type="button" onClick=${() => change(dice(field))}>Other</button>`}`;
}

/** @param {Field} field */
function dice({ min = 0, max = 1000 }) {
  return Math.floor(min + Math.random() * (max - min));
}

/** @param {Identified} props */
function Line({ id, field, value, change, live }) {
  const take = (/** @type {Typed} */ event) => change(event.currentTarget.value || (field.optional ? null : ""));
  return html`<input type="text" id=${id} value=${value ?? ""} maxlength=${field.longest} list=${`${id}-known`}
    aria-describedby="${id}-hint" ...${live ? { onInput: take } : { onChange: take }} />`;
}

/** @param {Identified} props */
function Numerals({ id, value, change }) {
  const text = Array.isArray(value) ? value.join(" ") : "";
  return html`<input type="text" inputmode="numeric" id=${id} value=${text} placeholder="none" aria-describedby="${id}-hint"
    onChange=${(/** @type {Typed} */ event) => change(numbersOf(event.currentTarget.value))} />`;
}

/** @param {string} text */
function numbersOf(text) {
  const numbers = text.split(/[\s,]+/).filter(Boolean).map(Number);
  return numbers.length ? numbers : null;
}

/** @param {Identified} props */
function Adapters({ id, value, change }) {
  const adapters = /** @type {{path: string, scale: number}[]} */ (value ?? []);
  return html`<textarea id=${id} rows="2" aria-describedby="${id}-hint" placeholder="none" spellcheck=${false}
    onChange=${(/** @type {any} */ event) => change(linesOf(event.currentTarget.value))}
    value=${adapters.map(({ path, scale }) => `${path}::${scale}`).join("\n")}></textarea>`;
}

/** @param {string} text with an adapter in each line */
function linesOf(text) {
  return text.split("\n").map((line) => line.trim()).filter(Boolean).map(adapterOf);
}

/** @param {string} line PATH or PATH::SCALE */
function adapterOf(line) {
  const [path, scale = "1"] = line.split("::");
  return { path, scale: Number(scale) };
}
