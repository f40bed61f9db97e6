/** A steady beat: with the screen's refreshes while the page is seen, from a worker while it is not. */

export const BEAT = 1000 / 30; // milliseconds
const EARLY = 4; // a refresh that comes this much before its time is taken, or 30 a second would become 20

export class Ticker {
  #last = 0;
  #request = 0;
  /** @type {Worker | null} */
  #worker = null;

  /** @param {() => void} beat */
  constructor(beat) {
    this.beat = beat;
    this.follow = () => this.#follow();
  }

  start() {
    document.addEventListener("visibilitychange", this.follow);
    this.#follow();
  }

  stop() {
    document.removeEventListener("visibilitychange", this.follow);
    this.#rest();
  }

  #rest() {
    cancelAnimationFrame(this.#request);
    this.#worker?.terminate();
    this.#worker = null;
  }

  /** Browsers slow the timers of hidden pages to one a second, but not those of their workers. */
  #follow() {
    this.#rest();
    if (!document.hidden) return this.#await();
    this.#worker = new Worker(new URL("ticker_worker.js", import.meta.url));
    this.#worker.onmessage = () => this.beat();
  }

  #await() {
    this.#request = requestAnimationFrame((time) => {
      this.#await();
      if (time - this.#last < BEAT - EARLY) return;
      this.#last = time;
      this.beat();
    });
  }
}
