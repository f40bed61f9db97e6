/** Sends the newest picture of a source whenever the server has granted the next one. Nothing waits in line. */

import { Beat } from "./beat.js";
import { makeEncoder } from "./encoder.js";

/** @typedef {import("./protocol.js").Codec} Codec */
/** @typedef {import("./protocol.js").Size} Size */
/** @typedef {import("./sources/source.js").Source} Source */

/**
 * A picture that is nearly a beat old gives way to the next one where that is due soon, within this share of the time
 * between two credits: at 30 pictures a second and an engine of 60 ms, ages fall by 19 ms of 99, and 3 % of the pictures
 * with them (simulated, with the server's pace; beyond a half little is gained).
 */
const HOLD = 0.5;
const LATE = 3; // milliseconds that the source may be late before the picture at hand goes after all
const STILL = 2000; // milliseconds without a picture after which the source has stalled
const MOST_WAITING = 2; // in the encoder: one is encoded while the next is handed over

export class Sender {
  canvas = document.createElement("canvas");
  /** @type {Source | null} */
  source = null;
  revision = 0;
  painted = 0; // pictures that the source has given
  #context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d", { alpha: false }));
  /** @type {import("./encoder.js").Encoder | null} */
  #encoder = null;
  #sequence = 0;
  #upto = -1;
  #time = 0;
  #fresh = false;
  #came = -Infinity; // when the source gave its last picture
  /** @type {Source | null} the one that was chosen last, which may still wait for a permission */
  #chosen = null;
  #beat = new Beat(); // of the source
  #credits = new Beat();
  #timer = 0;

  /**
   * @param {import("./link.js").Link} link
   * @param {(codec: Codec, fault: Error) => void} failed tells that the browser cannot encode after all
   */
  constructor(link, failed) {
    this.link = link;
    this.failed = failed;
  }

  /**
   * A connection begins: its sequence numbers count from 0.
   * @param {Codec} codec
   * @param {Size} size
   */
  begin(codec, size) {
    this.#encoder?.close();
    this.#encoder = makeEncoder(codec, (encoded) => this.#hand(encoded), (fault) => this.failed(codec, fault));
    this.#sequence = 0;
    this.#upto = -1;
    this.resize(size);
  }

  /** The connection is gone, or is a viewer's. */
  end() {
    clearTimeout(this.#timer);
    this.#encoder?.close();
    this.#encoder = null;
  }

  /** @param {Size} size of the pictures that are sent */
  resize([width, height]) {
    if (this.canvas.width === width && this.canvas.height === height) return;
    Object.assign(this.canvas, { width, height });
    if (this.source) this.#take();
  }

  /** Whether the source, if there is one, has given no picture for long. */
  get stalled() {
    return this.source !== null && performance.now() - this.#came > STILL;
  }

  /**
   * Run another source; the old one goes on if the new one cannot start, or until it does.
   * @param {Source} source
   * @returns {Promise<boolean>} false where another was chosen meanwhile
   * @throws {Error} where it cannot start
   */
  async run(source) {
    this.#chosen = source;
    try {
      await source.start(() => this.source === source && this.#take());
    } catch (fault) {
      if (source !== this.source) source.stop(); // what it had opened
      if (source !== this.#chosen) return false;
      throw fault;
    }
    if (source === this.#chosen) this.#goOver(source);
    else if (source !== this.source) source.stop();
    return source === this.#chosen;
  }

  /** @param {Source} source that has started */
  #goOver(source) {
    if (this.source !== source) this.source?.stop();
    this.source = source;
    this.#take();
  }

  /** @param {number} upto the highest sequence number that may be sent */
  grant(upto) {
    const moment = performance.now();
    this.#credits.came(moment);
    this.#upto = Math.max(this.#upto, upto);
    clearTimeout(this.#timer);
    const due = this.#beat.dueIn(moment);
    if (due < 0 || due > HOLD * this.#credits.period) this.#send();
    else this.#timer = setTimeout(() => this.#send(), due + LATE);
  }

  /** Make the next picture a key picture. */
  refresh() {
    this.#encoder?.refresh();
  }

  #take() {
    if (!this.source) return;
    this.#time = this.source.paint(this.#context);
    this.painted += 1;
    this.#came = performance.now();
    this.#beat.came(this.#came);
    this.#fresh = true;
    this.#send();
  }

  #send() {
    if (!this.#fresh || !this.#encoder || !this.link.ready) return;
    const { waiting } = this.#encoder;
    if (waiting >= MOST_WAITING || this.#sequence + waiting > this.#upto) return;
    this.#fresh = false;
    this.#encoder.encode(this.canvas, { time: this.#time, revision: this.revision });
  }

  /** Numbers rise without a gap, also where the encoder drops a picture: nothing that follows hangs on it. */
  #hand(/** @type {import("./encoder.js").Encoded} */ encoded) {
    this.link.sendPicture({ ...encoded, sequence: this.#sequence++ });
  }
}
