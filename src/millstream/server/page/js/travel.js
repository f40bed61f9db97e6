/** Travel between prompts: weights move from each prompt to the next within its seconds. */

import { effect, signal } from "@preact/signals";
import { Ticker } from "./ticker.js";

/** @typedef {{text: string, seconds: number}} Stop a prompt, and how long the way to it takes */
/** @typedef {{text: string, weight: number}} Prompt */

const STEP = 100; // milliseconds between two changes of the weights
const LEAST = 0.001; // weights are larger than 0

export class Travel {
  /** @type {import("@preact/signals").Signal<Stop[]>} */
  stops = signal([]);
  loop = signal(false);
  /** @type {import("@preact/signals").Signal<number | null>} seconds since the start; null when at rest */
  elapsed = signal(null);
  #began = 0;
  #changed = 0;
  #ticker = new Ticker(() => this.#move());

  /**
   * Whoever changes the prompt otherwise, or takes control over, ends the travel; so does a way that is none.
   * @param {import("./settings.js").Settings} settings
   * @param {import("@preact/signals").Signal<"control" | "view">} role
   */
  constructor(settings, role) {
    this.settings = settings;
    effect(() => {
      void [settings.prompted.value, role.value];
      this.stop();
    });
    effect(() => {
      if (this.stops.value.length < 2) this.stop();
    });
  }

  get length() {
    return this.stops.value.slice(1).reduce((sum, { seconds }) => sum + seconds, 0);
  }

  /** The whole travel is one step of undo. */
  start() {
    const [first, second] = this.stops.value;
    if (!first || !second) return;
    this.settings.set("prompt", [{ text: first.text, weight: 1 }]);
    this.#began = performance.now();
    this.#changed = 0;
    this.elapsed.value = 0;
    this.#ticker.start();
  }

  stop() {
    this.#ticker.stop();
    this.elapsed.value = null;
  }

  #move() {
    const moment = performance.now();
    if (moment - this.#changed < STEP) return;
    this.#changed = moment;
    const elapsed = (moment - this.#began) / 1000;
    this.elapsed.value = Math.min(elapsed, this.length);
    this.settings.steer({ prompt: blendAt(this.stops.value, elapsed) });
    if (elapsed >= this.length) this.#arrive();
  }

  #arrive() {
    if (!this.loop.value) return this.stop();
    this.stops.value = [...this.stops.value].reverse().map((stop, i, all) => ({ ...stop, seconds: wayTo(all, i) }));
    this.#began = performance.now();
  }
}

/**
 * @param {Stop[]} stops reversed already
 * @param {number} i
 */
function wayTo(stops, i) {
  return i === 0 ? (stops.at(-1)?.seconds ?? 0) : (stops[i - 1]?.seconds ?? 0);
}

/**
 * @param {Stop[]} stops two or more; the seconds of the first do not count
 * @param {number} elapsed seconds since the start
 * @returns {Prompt[]} the weighted prompts of that moment
 */
export function blendAt(stops, elapsed) {
  let left = elapsed;
  for (const [i, stop] of stops.entries()) {
    const from = stops[i - 1];
    if (from && left < stop.seconds) return mix(from.text, stop.text, left / stop.seconds);
    left -= from ? stop.seconds : 0;
  }
  return [{ text: stops.at(-1)?.text ?? "", weight: 1 }];
}

/**
 * @param {string} from
 * @param {string} to
 * @param {number} share of the way
 * @returns {Prompt[]}
 */
function mix(from, to, share) {
  const prompts = [{ text: from, weight: 1 - share }, { text: to, weight: share }];
  return prompts.filter(({ weight }) => weight >= LEAST);
}
