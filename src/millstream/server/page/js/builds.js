/** What is being built: changes that this page asked for, and those of others. */

import { computed, signal } from "@preact/signals";
import { namesOf } from "./steps.js";

/** @typedef {import("./steps.js").Fields} Build fields that are changed */

export class Builds {
  /** Names of the fields, or the server's words; empty when nothing is built. */
  names = computed(() => namesOf(this.coming) || this.#shown.value);
  /** @type {import("@preact/signals").Signal<Build[]>} of this page, not answered yet, oldest first */
  #own = signal([]);
  /** @type {WeakSet<Build>} */
  #answered = new WeakSet();
  #others = "";
  #shown = signal("");
  #seen = false; // whether the engine was building when it last reported

  /** @returns {Required<Build>} fields as they will be when all that was asked for is built: the server adds them up */
  get coming() {
    const all = (/** @type {import("./schema.js").Part} */ part) => Object.assign({}, ...this.#own.value.map((build) => build[part]));
    return { model: all("model"), config: all("config"), params: all("params") };
  }

  /** It is asked for. @param {Build} build */
  begin(build) {
    this.#own.value = [...this.#own.value, build];
  }

  /**
   * It was answered. One whose place a newer one has taken comes with that one.
   * @param {Build} build
   * @returns {boolean} whether none has
   */
  end(build) {
    const newest = this.#own.value.at(-1) === build;
    this.#answered.add(build);
    if (newest) this.#own.value = this.#own.value.filter((one) => !this.#answered.has(one));
    return newest;
  }

  /** Something is built for another page. @param {string} what */
  heard(what) {
    this.#others = what;
  }

  /** @param {boolean} building as the engine reports, up to two seconds late */
  look(building) {
    if (this.#seen && !building) this.#others = "";
    this.#seen = building;
    this.#shown.value = building ? this.#others : "";
  }

  /** What others asked for is built. */
  settle() {
    this.#others = this.#shown.value = "";
  }
}
