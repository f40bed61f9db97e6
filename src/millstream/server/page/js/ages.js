/** How old pictures are when they are shown, and how many are shown a second, over the last few seconds. */

/** @typedef {import("./protocol.js").Percentiles} Percentiles */

const KEPT = 300; // pictures: ten seconds at 30 a second
const SECOND = 1000;

export class Ages {
  /** @type {number[]} */
  #ages = [];
  /** @type {number[]} */
  #shown = [];

  /**
   * @param {number} age milliseconds
   * @param {number} moment milliseconds
   */
  add(age, moment) {
    this.#ages = [...this.#ages.slice(1 - KEPT), age];
    this.#shown = [...this.#shown.filter((time) => moment - time < SECOND), moment];
  }

  reset() {
    this.#ages = [];
  }

  /** @returns {Percentiles | null} null before the first picture */
  percentiles() {
    if (this.#ages.length === 0) return null;
    const sorted = this.#ages.toSorted((a, b) => a - b);
    /** @param {number} share */
    const at = (share) => /** @type {number} */ (sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]);
    return { p50: at(0.5), p95: at(0.95), p99: at(0.99) };
  }

  /** @param {number} moment milliseconds */
  rate(moment) {
    return this.#shown.filter((time) => moment - time < SECOND).length;
  }
}
