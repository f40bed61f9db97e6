/** How often something comes, and when it is due again. Times are milliseconds of one clock. */

const SHARE = 0.2; // of a new value in the moving average
const LONGEST = 1000; // milliseconds: a longer pause is no beat

export class Beat {
  period = 0; // 0 until it came twice
  #last = -Infinity;

  /** @param {number} moment at which it came */
  came(moment) {
    const gap = moment - this.#last;
    if (gap < LONGEST) this.period += this.period ? SHARE * (gap - this.period) : gap;
    this.#last = moment;
  }

  /**
   * @param {number} moment
   * @returns {number} milliseconds until it is due; negative where it is late, or has no beat
   */
  dueIn(moment) {
    return this.period ? this.#last + this.period - moment : -1;
  }
}
