/** What is being built: changes that this page asked for, and those of others. */

import { computed, signal } from "@preact/signals";

/** @typedef {import("./protocol.js").Values} Values */
/** @typedef {{model: Values, config: Values}} Build fields that are changed */

export class Builds {
  /** Names of the fields, or the server's words; empty when nothing is built. */
  names = computed(() => namesOf(this.coming) || this.#shown.value);
  /** @type {import("@preact/signals").Signal<Build[]>} of this page, not answered yet, oldest first */
  #own = signal([]);
  #others = "";
  #shown = signal("");
  #seen = false; // whether the engine was building when it last reported

  /** @returns {Build} fields as they will be when all that was asked for is built */
  get coming() {
    return merged(this.#own.value);
  }

  /**
   * A newer change takes the place of one that is being built, so it brings what that one was to bring.
   * @param {Build} wanted
   * @returns {Build} what to ask for
   */
  begin(wanted) {
    const build = merged([this.coming, wanted]);
    this.#own.value = [...this.#own.value, build];
    return build;
  }

  /**
   * It was answered.
   * @param {Build} build
   * @returns {boolean} whether no newer one has taken its place
   */
  end(build) {
    const newest = this.#own.value.at(-1) === build;
    this.#own.value = this.#own.value.filter((one) => one !== build);
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

/**
 * @param {Build[]} builds
 * @returns {Build} all of them, the last one winning
 */
function merged(builds) {
  const all = (/** @type {"model" | "config"} */ part) => Object.assign({}, ...builds.map((build) => build[part]));
  return { model: all("model"), config: all("config") };
}

/** @param {Build} build */
function namesOf({ model, config }) {
  return Object.keys({ ...model, ...config }).join(", ");
}
