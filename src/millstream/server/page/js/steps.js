/** What can be undone: each step holds the values from before. */

import { signal } from "@preact/signals";

/** @typedef {import("./protocol.js").Values} Values */
/** @typedef {import("./schema.js").Part} Part */
/** @typedef {Partial<Record<Part, Values>>} Fields of some parts of the settings */
/** @typedef {{before: Fields, moment: number}} Step */

const ONE_GESTURE = 800; // milliseconds: changes of one field within it are undone together
const MOST_STEPS = 200;
const PARTS = /** @type {const} */ (["model", "config", "params"]);

export class Steps {
  count = signal(0);
  /** @type {Step[]} */
  #steps = [];

  /** @param {(part: Part) => Values} ahead the values as they will be when all that was asked for is done */
  constructor(ahead) {
    this.ahead = ahead;
  }

  /** @param {Fields} changes that are about to be made, and undone together */
  remember(changes) {
    const before = each(changes, (part, names) => picked(this.ahead(part), names));
    const last = this.#steps.at(-1);
    const moment = Date.now();
    if (last && namesOf(last.before) === namesOf(before) && moment - last.moment < ONE_GESTURE) last.moment = moment;
    else this.#steps = [...this.#steps.slice(1 - MOST_STEPS), { before, moment }];
    this.count.value = this.#steps.length;
  }

  /** @returns {Step | undefined} the last one, which is none any more */
  take() {
    return this.#steps.pop();
  }

  /** Leave out the last ones that would change nothing, such as those of changes that were refused. */
  tidy() {
    for (let step = this.#steps.at(-1); step; step = this.#steps.at(-1)) {
      if (namesOf(differing(step.before, (part) => this.ahead(part)))) break;
      this.#steps.pop();
    }
    this.count.value = this.#steps.length;
  }
}

/**
 * @param {Fields} wanted
 * @param {(part: Part) => Values} now
 * @returns {Fields} those of `wanted` that are not so already; parts without any are left out
 */
export function differing(wanted, now) {
  return each(wanted, (part, values) => {
    const old = now(part);
    return Object.fromEntries(Object.entries(values).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(old[name])));
  });
}

/**
 * @param {Fields} fields
 * @returns {string} the names of all, empty where there are none
 */
export function namesOf(fields) {
  return PARTS.flatMap((part) => Object.keys(fields[part] ?? {})).join(", ");
}

/**
 * @param {Fields} fields
 * @param {(part: Part, values: Values) => Values} make
 * @returns {Fields} what is made of each part, where that is anything
 */
function each(fields, make) {
  const made = PARTS.map((part) => /** @type {const} */ ([part, make(part, fields[part] ?? {})]));
  return Object.fromEntries(made.filter(([, values]) => Object.keys(values).length > 0));
}

/**
 * @param {Values} values
 * @param {Values} names whose keys are wanted
 */
function picked(values, names) {
  return Object.fromEntries(Object.keys(names).map((name) => [name, values[name] ?? null]));
}
