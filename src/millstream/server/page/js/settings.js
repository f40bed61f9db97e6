/** The settings of the session as the page knows them: changed at once here, then on the server, and undone. */

import { signal } from "@preact/signals";
import { fieldsOf } from "./schema.js";

/** @typedef {import("./protocol.js").Values} Values */
/** @typedef {import("./protocol.js").Settings} Values3 */
/** @typedef {import("./link.js").Refusal} Refusal */
/** @typedef {import("./schema.js").Part} Part */
/** @typedef {import("./schema.js").Field} Field */
/** @typedef {{part: Part, before: Values, moment: number}} Step that can be undone */

const FRAME = 33; // milliseconds: changes within a frame travel together
const ONE_GESTURE = 800; // milliseconds: changes of one field within it are undone together
const MOST_STEPS = 200;

export class Settings {
  /** @type {import("@preact/signals").Signal<Field[]>} */
  fields = signal([]);
  values = signal(/** @type {Values3} */ ({ model: {}, config: {}, params: {} }));
  /** @type {import("@preact/signals").Signal<Record<string, string>>} messages by field; "" for those of none */
  faults = signal({});
  /** @type {import("@preact/signals").Signal<string>} what is being built, empty when nothing is */
  building = signal("");
  undoable = signal(0);
  /** @type {Step[]} */
  #steps = [];
  /** @type {Values} */
  #pending = {};
  #timer = 0;
  #unanswered = 0;
  /** @type {Values3 | null} what the server has accepted */
  #accepted = null;

  /** @param {import("./link.js").Link} link */
  constructor(link) {
    this.link = link;
  }

  /**
   * A connection begins. A fresh session, as after a restart of the server, gets the settings that this page had.
   * @param {import("./protocol.js").Welcome} welcome
   * @param {boolean} fresh
   */
  begin({ settings, schema }, fresh) {
    const parts = /** @type {const} */ (["params", "config", "model"]);
    this.fields.value = parts.flatMap((part) => fieldsOf(part, schema[part]));
    const wanted = this.#accepted;
    this.#accepted = this.values.value = settings;
    this.building.value = "";
    if (fresh && wanted) this.apply(wanted);
  }

  /**
   * Change one parameter for the pictures that enter from now on.
   * @param {string} name
   * @param {unknown} value
   */
  set(name, value) {
    this.#remember("params", { [name]: value });
    this.steer({ [name]: value });
  }

  /**
   * Change parameters without a step of undo, as the travel does many times a second.
   * @param {Values} changes
   */
  steer(changes) {
    this.#merge("params", changes);
    this.#pending = { ...this.#pending, ...changes };
    this.#timer ||= setTimeout(() => this.#flush(), FRAME);
  }

  /**
   * Change what the stream is: the show goes on with the old one until the new one is built.
   * @param {Partial<Pick<Values3, "model" | "config">>} changes
   */
  async change({ model, config = {} }) {
    if (model) this.#remember("model", model);
    if (Object.keys(config).length > 0) this.#remember("config", config);
    this.building.value = Object.keys({ ...model, ...config }).join(", ");
    await this.#ask({ type: "change", config, ...(model && { model }) });
    this.building.value = "";
  }

  /**
   * Go over to other settings, as from a preset.
   * @param {Partial<Values3>} wanted
   */
  async apply({ model = {}, config = {}, params = {} }) {
    const now = this.values.value;
    const [newModel, newConfig] = [differing(model, now.model), differing(config, now.config)];
    const rebuilt = { config: newConfig, ...(Object.keys(newModel).length > 0 && { model: newModel }) };
    if (rebuilt.model || Object.keys(newConfig).length > 0) await this.change(rebuilt);
    const newParams = differing(params, this.values.value.params);
    if (Object.keys(newParams).length === 0) return;
    this.#remember("params", newParams);
    this.steer(newParams);
  }

  undo() {
    const step = this.#steps.pop();
    this.undoable.value = this.#steps.length;
    if (!step) return;
    if (step.part === "params") this.steer(step.before);
    else this.change({ [step.part]: step.before }).then(() => this.#dropStep());
  }

  /**
   * Take over what the server says; not while the page is ahead of it, or a slider would jump back under the hand.
   * @param {Partial<Values3>} answer
   */
  accept({ params, config, model }) {
    const now = this.values.value;
    const ahead = this.#unanswered > 0 || this.#timer !== 0;
    this.#accepted = {
      model: model ?? now.model,
      config: config ?? now.config,
      params: params && !ahead ? params : now.params,
    };
    this.values.value = this.#accepted;
  }

  /** @param {string} name */
  value(name) {
    const { params, config, model } = this.values.value;
    return name in params ? params[name] : name in config ? config[name] : model[name];
  }

  #flush() {
    const params = this.#pending;
    this.#timer = 0;
    this.#pending = {};
    return this.#ask({ type: "set", params });
  }

  /** @param {{type: string, [key: string]: unknown}} message */
  async #ask(message) {
    this.#unanswered += 1;
    const answer = await this.link.ask(message).catch((/** @type {Refusal} */ fault) => this.#refused(fault));
    this.#unanswered -= 1;
    if (!answer) return;
    this.accept(answer);
    this.faults.value = {};
  }

  /** @param {Refusal} fault */
  #refused({ message, field = "" }) {
    const name = field.split(".")[0] ?? "";
    const known = this.fields.value.some((one) => one.name === name);
    this.faults.value = { [known ? name : ""]: message };
    if (this.#accepted && this.link.open) this.values.value = this.#accepted;
  }

  /**
   * @param {Part} part
   * @param {Values} changes
   */
  #remember(part, changes) {
    const old = this.values.value[part];
    const before = Object.fromEntries(Object.keys(changes).map((name) => [name, old[name] ?? null]));
    const last = this.#steps.at(-1);
    const moment = Date.now();
    const same = last && last.part === part && Object.keys(last.before).join() === Object.keys(before).join();
    if (same && moment - last.moment < ONE_GESTURE) last.moment = moment;
    else this.#steps = [...this.#steps.slice(1 - MOST_STEPS), { part, before, moment }];
    this.undoable.value = this.#steps.length;
  }

  /** Going back is no step itself. */
  #dropStep() {
    this.#steps.pop();
    this.undoable.value = this.#steps.length;
  }

  /**
   * @param {Part} part
   * @param {Values} changes
   */
  #merge(part, changes) {
    const now = this.values.value;
    this.values.value = { ...now, [part]: { ...now[part], ...changes } };
  }
}

/**
 * @param {Values} wanted
 * @param {Values} now
 * @returns {Values} those of `wanted` that are not so already
 */
function differing(wanted, now) {
  const entries = Object.entries(wanted).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(now[name]));
  return Object.fromEntries(entries);
}
