/** The settings of the session as the page knows them: changed at once here, then on the server, and undone. */

import { signal } from "@preact/signals";
import { Builds } from "./builds.js";
import { fieldsOf } from "./schema.js";
import { differing, namesOf, Steps } from "./steps.js";

/** @typedef {import("./protocol.js").Values} Values */
/** @typedef {import("./protocol.js").Settings} Values3 */
/** @typedef {import("./link.js").Refusal} Refusal */
/** @typedef {import("./schema.js").Part} Part */
/** @typedef {import("./schema.js").Field} Field */
/** @typedef {import("./steps.js").Fields} Fields */

const FRAME = 33; // milliseconds: changes within a frame travel together

export class Settings {
  /** @type {import("@preact/signals").Signal<Field[]>} */
  fields = signal([]);
  values = signal(/** @type {Values3} */ ({ model: {}, config: {}, params: {} }));
  /** @type {import("@preact/signals").Signal<Record<string, string>>} messages by field; "" for those of none */
  faults = signal({});
  builds = new Builds();
  building = this.builds.names;
  prompted = signal(0); // how often the prompt or all settings were changed, travels left out
  #steps = new Steps((part) => this.#ahead(part));
  undoable = this.#steps.count;
  /** @type {Values} */
  #pending = {};
  #timer = 0;
  #unanswered = 0;
  #nameless = ""; // names of the message that was refused with no field
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
    this.builds.settle();
    this.faults.value = {};
    if (fresh && wanted) this.apply(wanted);
  }

  /**
   * Change one parameter for the pictures that enter from now on.
   * @param {string} name
   * @param {unknown} value
   */
  set(name, value) {
    this.#steps.remember({ params: { [name]: value } });
    this.#put({ [name]: value });
  }

  /**
   * Change parameters without a step of undo, as the travel does many times a second.
   * @param {Values} changes
   */
  steer(changes) {
    const now = this.values.value;
    this.values.value = { ...now, params: { ...now.params, ...changes } };
    this.#pending = { ...this.#pending, ...changes };
    this.#timer ||= setTimeout(() => this.#flush(), FRAME);
  }

  /**
   * Change what the stream is, and parameters with it: the show goes on with the old one until the new one is built.
   * @param {Fields} changes
   */
  async change(changes) {
    this.#steps.remember(changes);
    await this.#build(changes);
  }

  /**
   * Go over to other settings, as from a preset.
   * @param {Partial<Values3>} wanted
   */
  async apply(wanted) {
    this.prompted.value += 1;
    const changes = differing(wanted, (part) => this.#ahead(part));
    if (!namesOf(changes)) return;
    this.#steps.remember(changes);
    await this.#make(changes);
  }

  undo() {
    const step = this.#steps.take();
    if (step) this.#make(step.before);
    this.#steps.tidy();
  }

  /** @param {Fields} changes of any part */
  async #make(changes) {
    if (changes.model || changes.config) await this.#build(changes);
    else if (changes.params) this.#put(changes.params);
  }

  /**
   * Take over what the server says; not while the page is ahead of it, or a slider would jump back under the hand.
   * @param {Partial<Values3>} answer
   */
  accept({ params, config, model }) {
    const old = this.#accepted ?? this.values.value;
    const ahead = this.#unanswered > 0 || this.#timer !== 0;
    this.#accepted = { model: model ?? old.model, config: config ?? old.config, params: params ?? old.params };
    this.values.value = ahead ? { ...this.#accepted, params: this.values.value.params } : this.#accepted;
  }

  /** Forget the refusal that stands at no field. */
  forgive() {
    const { "": _, ...others } = this.faults.value;
    this.faults.value = others;
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
    return this.#ask({ type: "set", params }).then(
      (answer) => this.#took(answer, params),
      (fault) => this.#refused(fault, params),
    );
  }

  /** @param {Fields} build */
  async #build(build) {
    this.builds.begin(build);
    const asked = { ...build.model, ...build.config, ...build.params };
    await this.#ask({ type: "change", ...build }).then(
      (answer) => {
        this.builds.end(build);
        this.#took(answer, asked);
      },
      (fault) => this.builds.end(build) && this.#refused(fault, asked),
    );
  }

  /** @param {{type: string, [key: string]: unknown}} message */
  async #ask(message) {
    this.#unanswered += 1;
    return this.link.ask(message).finally(() => (this.#unanswered -= 1));
  }

  /**
   * @param {Partial<Values3>} answer
   * @param {Values} asked
   */
  #took(answer, asked) {
    this.accept(answer);
    const names = Object.keys(asked);
    const over = (/** @type {string} */ name) => (name ? names.includes(name) : names.join() === this.#nameless);
    this.faults.value = Object.fromEntries(Object.entries(this.faults.value).filter(([name]) => !over(name)));
  }

  /**
   * @param {Refusal} fault
   * @param {Values} asked
   */
  #refused({ message, field = "" }, asked) {
    const name = field.split(".")[0] ?? "";
    const known = this.fields.value.some((one) => one.name === name);
    if (!known) this.#nameless = Object.keys(asked).join();
    this.faults.value = { ...this.faults.value, [known ? name : ""]: message };
    if (this.#accepted && this.link.open) this.values.value = this.#accepted;
    this.#steps.tidy();
  }

  /**
   * @param {Part} part
   * @returns {Values} as they will be when all that was asked for is built
   */
  #ahead(part) {
    return { ...this.values.value[part], ...this.builds.coming[part] };
  }

  /** @param {Values} changes of parameters by hand */
  #put(changes) {
    if ("prompt" in changes) this.prompted.value += 1;
    this.steer(changes);
  }
}
