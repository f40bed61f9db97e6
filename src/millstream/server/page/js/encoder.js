/** From a canvas to encoded pictures. An encoder holds one picture at a time: what it cannot take at once is not taken. */

import { encoding } from "./support.js";

/** @typedef {import("./protocol.js").Picture} Picture */
/** @typedef {import("./protocol.js").Codec} Codec */
/** @typedef {{time: number, revision: number}} Stamp */
/** @typedef {Omit<Picture, "sequence">} Encoded a picture that is numbered when it is sent */

/**
 * @typedef {object} Encoder
 * @property {number} waiting pictures that are being encoded
 * @property {(canvas: HTMLCanvasElement, stamp: Stamp) => void} encode reads the canvas before it returns
 * @property {() => void} refresh makes the next picture a key picture
 * @property {() => void} close
 */

const KEY_EVERY = 60; // pictures: a viewer who comes late waits two seconds at most
const PATIENCE = 500; // milliseconds after which a picture counts as dropped by the encoder, which may do that
const MOST_WAITING = 64; // stamps kept for pictures that come late; every picture that follows hangs on them
const JPEG_QUALITY = 0.85;

/**
 * @param {Codec} codec
 * @param {(picture: Encoded) => void} give
 * @param {(fault: Error) => void} fail
 * @returns {Encoder}
 */
export function makeEncoder(codec, give, fail) {
  return codec === "jpeg" ? new JpegEncoder(give, fail) : new VideoPictureEncoder(codec, give, fail);
}

/** @implements {Encoder} */
class JpegEncoder {
  waiting = 0;

  /**
   * @param {(picture: Encoded) => void} give
   * @param {(fault: Error) => void} fail
   */
  constructor(give, fail) {
    this.give = give;
    this.fail = fail;
  }

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {Stamp} stamp
   */
  encode(canvas, stamp) {
    this.waiting = 1;
    canvas.toBlob((blob) => this.#hand(blob, stamp), "image/jpeg", JPEG_QUALITY);
  }

  /**
   * @param {Blob | null} blob
   * @param {Stamp} stamp
   */
  async #hand(blob, stamp) {
    if (!blob) return this.fail(new Error("the browser gave no JPEG of the canvas"));
    const data = new Uint8Array(await blob.arrayBuffer());
    this.waiting = 0;
    this.give({ codec: "jpeg", key: true, ...stamp, data });
  }

  refresh() {} // every JPEG is a key picture

  close() {
    this.give = () => {};
  }
}

/** @implements {Encoder} */
class VideoPictureEncoder {
  /** @type {{stamp: Stamp, timestamp: number, began: number}[]} */
  #waiting = [];
  #sinceKey = 0;
  #size = "";

  /**
   * @param {Codec} codec
   * @param {(picture: Encoded) => void} give
   * @param {(fault: Error) => void} fail
   */
  constructor(codec, give, fail) {
    this.codec = codec;
    this.give = give;
    this.encoder = new VideoEncoder({ output: (chunk) => this.#hand(chunk), error: fail });
  }

  get waiting() {
    const now = performance.now();
    return this.#waiting.filter(({ began }) => now - began < PATIENCE).length;
  }

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {Stamp} stamp
   */
  encode(canvas, stamp) {
    this.#fit(canvas);
    const timestamp = Math.round(stamp.time * 1000);
    const frame = new VideoFrame(canvas, { timestamp, alpha: "discard" });
    if (this.#waiting.length === MOST_WAITING) this.#waiting.shift();
    this.#waiting.push({ stamp, timestamp, began: performance.now() });
    this.encoder.encode(frame, { keyFrame: this.#sinceKey === 0 });
    frame.close();
    this.#sinceKey = (this.#sinceKey + 1) % KEY_EVERY;
  }

  /** @param {HTMLCanvasElement} canvas */
  #fit({ width, height }) {
    if (this.#size === `${width}x${height}`) return;
    this.#size = `${width}x${height}`;
    this.encoder.configure(encoding(this.codec, [width, height]));
    this.#sinceKey = 0;
  }

  /** @param {EncodedVideoChunk} chunk */
  #hand(chunk) {
    const place = this.#waiting.findIndex(({ timestamp }) => timestamp === chunk.timestamp);
    const entry = this.#waiting[place];
    if (!entry) return;
    this.#waiting.splice(0, place + 1); // those before it were dropped by the encoder
    const data = new Uint8Array(chunk.byteLength);
    chunk.copyTo(data);
    this.give({ codec: this.codec, key: chunk.type === "key", ...entry.stamp, data });
  }

  refresh() {
    this.#sinceKey = 0;
  }

  close() {
    if (this.encoder.state !== "closed") this.encoder.close();
  }
}
