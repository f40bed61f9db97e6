/** What can be undone: each step holds the values from before. */

import { signal } from "@preact/signals";

/** @typedef {import("./protocol.js").Values} Values */
/** @typedef {import("./schema.js").Part} Part */
/** @typedef {{part: Part, before: Values, moment: number}} Step */

const ONE_GESTURE = 800; // milliseconds: changes of one field within it are undone together
const MOST_STEPS = 200;

export class Steps {
  count = signal(0);
  /** @type {Step[]} */
  #steps = [];

  /** @param {(part: Part) => Values} ahead the values as they will be when all that was asked for is done */
  constructor(ahead) {
    this.ahead = ahead;
  }

  /**
   * @param {Part} part
   * @param {Values} changes that are about to be made
   */
  remember(part, changes) {
    const old = this.ahead(part);
    const before = Object.fromEntries(Object.keys(changes).map((name) => [name, old[name] ?? null]));
    const last = this.#steps.at(-1);
    const moment = Date.now();
    const same = last && last.part === part && Object.keys(last.before).join() === Object.keys(before).join();
    if (same && moment - last.moment < ONE_GESTURE) last.moment = moment;
    else this.#steps = [...this.#steps.slice(1 - MOST_STEPS), { part, before, moment }];
    this.count.value = this.#steps.length;
  }

  /** @returns {Step | undefined} the last one, which is none any more */
  take() {
    return this.#steps.pop();
  }

  /** Leave out the last ones that would change nothing, such as those of changes that were refused. */
  tidy() {
    for (let step = this.#steps.at(-1); step; step = this.#steps.at(-1)) {
      if (Object.keys(differing(step.before, this.ahead(step.part))).length > 0) break;
      this.#steps.pop();
    }
    this.count.value = this.#steps.length;
  }
}

/**
 * @param {Values} wanted
 * @param {Values} now
 * @returns {Values} those of `wanted` that are not so already
 */
export function differing(wanted, now) {
  const entries = Object.entries(wanted).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(now[name]));
  return Object.fromEntries(entries);
}
