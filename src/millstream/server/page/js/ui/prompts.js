/** The prompt, or several with weights. */

import { html } from "./html.js";

/** @typedef {{text: string, weight: number}} Prompt */
/** @typedef {{field: import("../schema.js").Field, value: Prompt[], fault?: string, change: (value: Prompt[]) => void}} Props */

const LEAST = 0.01;
const HEAVIEST_SHOWN = 2; // the slider's end; weights are relative to each other

/** @param {Props} props */
export function Prompts({ field, value, fault, change }) {
  /** @param {number} i @param {Partial<Prompt>} part */
  const put = (i, part) => change(value.map((prompt, k) => (k === i ? { ...prompt, ...part } : prompt)));
  const several = value.length > 1;
  return html`
    <div class="prompts">
      ${value.map((prompt, i) => html`
        <div class="prompt" key=${i}>
          <textarea rows="2" maxlength="2000" value=${prompt.text} placeholder="What to draw"
            aria-label=${several ? `Prompt ${i + 1}` : "Prompt"}
            onInput=${(/** @type {any} */ event) => put(i, { text: event.currentTarget.value })}></textarea>
          ${several && html`<${Weight} i=${i} prompt=${prompt} put=${put} />
            <button type="button" aria-label="Remove prompt ${i + 1}" onClick=${() => change(value.filter((_, k) => k !== i))}>×</button>`}
        </div>`)}
      ${fault && html`<p class="fault" role="alert">${fault}</p>`}
      ${value.length < (field.longest ?? Infinity) && html`
        <button type="button" onClick=${() => change([...value, { text: "", weight: 1 }])}>Add a prompt</button>`}
    </div>`;
}

/** @param {{i: number, prompt: Prompt, put: (i: number, part: Partial<Prompt>) => void}} props */
function Weight({ i, prompt, put }) {
  return html`<input type="range" min=${LEAST} max=${Math.max(HEAVIEST_SHOWN, prompt.weight)} step=${LEAST} value=${prompt.weight}
    aria-label="Weight of prompt ${i + 1}"
    onInput=${(/** @type {any} */ event) => put(i, { weight: event.currentTarget.valueAsNumber })} />
    <output>${prompt.weight.toFixed(2)}</output>`;
}
