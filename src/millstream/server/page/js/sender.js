/** Sends the newest picture of a source whenever the server has granted the next one. Nothing waits in line. */

import { makeEncoder } from "./encoder.js";

/** @typedef {import("./protocol.js").Codec} Codec */
/** @typedef {import("./protocol.js").Size} Size */
/** @typedef {import("./sources/source.js").Source} Source */

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
    this.#encoder?.close();
    this.#encoder = null;
  }

  /** @param {Size} size of the pictures that are sent */
  resize([width, height]) {
    if (this.canvas.width === width && this.canvas.height === height) return;
    Object.assign(this.canvas, { width, height });
    if (this.source) this.#take();
  }

  /**
   * Run another source; the old one goes on if the new one cannot start.
   * @param {Source} source
   */
  async run(source) {
    await source.start(() => this.source === source && this.#take());
    if (this.source !== source) this.source?.stop();
    this.source = source;
    this.#take();
  }

  /** @param {number} upto the highest sequence number that may be sent */
  grant(upto) {
    this.#upto = Math.max(this.#upto, upto);
    this.#send();
  }

  /** Make the next picture a key picture. */
  refresh() {
    this.#encoder?.refresh();
  }

  #take() {
    if (!this.source) return;
    this.#time = this.source.paint(this.#context);
    this.painted += 1;
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
