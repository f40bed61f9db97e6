/** Shows the newest result on a canvas that keeps its last picture whatever happens: it is never black. */

import { Ages } from "./ages.js";
import { Decoder } from "./decoder.js";
import { now } from "./protocol.js";

/** @typedef {import("./protocol.js").Picture} Picture */

/**
 * @typedef {object} Shown the picture that is seen now
 * @property {number} sequence
 * @property {number} revision
 * @property {number} time of its capture, milliseconds of its sender's clock
 * @property {number} age milliseconds since then
 */

const LONGEST = 60_000; // milliseconds: an age beyond it, or below zero, is of another machine's clock

export class Presenter {
  canvas = document.createElement("canvas");
  ages = new Ages();
  /** @type {number | null} milliseconds; what is older is not shown */
  maxAge = null;
  tooOld = 0;
  #context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d", { alpha: false }));
  #last = -1;
  #decoder;

  /**
   * @param {(shown: Shown) => void} told
   * @param {() => void} askKey
   */
  constructor(told, askKey) {
    this.told = told;
    this.#decoder = new Decoder((image, picture) => this.#show(image, picture), askKey);
  }

  /** A connection begins; the picture of the last one stays. */
  begin() {
    this.#decoder.close();
    this.#last = -1;
  }

  /** @param {Picture} picture */
  take(picture) {
    this.#decoder.decode(picture);
  }

  /**
   * @param {ImageBitmap | VideoFrame} image
   * @param {Picture} picture
   */
  #show(image, picture) {
    const age = now() - picture.time;
    if (this.maxAge !== null && known(age) && age > this.maxAge) this.tooOld += 1;
    else this.#draw(image, picture, age);
    image.close();
  }

  /**
   * @param {ImageBitmap | VideoFrame} image
   * @param {Picture} picture
   * @param {number} age
   */
  #draw(image, { sequence, revision, time }, age) {
    const [width, height] = "displayWidth" in image ? [image.displayWidth, image.displayHeight] : [image.width, image.height];
    const { canvas } = this;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height }); // clears: draw at once
    this.#context.drawImage(image, 0, 0);
    if (sequence > this.#last && known(age)) this.ages.add(age, now()); // a stalled source's last picture is shown again
    this.#last = sequence;
    this.told({ sequence, revision, time, age });
  }
}

/** @param {number} age milliseconds */
function known(age) {
  return age >= 0 && age < LONGEST;
}
