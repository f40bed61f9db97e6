/** Shows the newest result on a canvas that keeps its last picture whatever happens: it is never black. */

import { Ages } from "./ages.js";
import { Decoder } from "./decoder.js";
import { now } from "./protocol.js";

/** @typedef {import("./protocol.js").Picture} Picture */

/** @typedef {{sequence: number, age: number}} Arrival a picture that came, shown or not; age in milliseconds */
/**
 * @typedef {object} Shown the picture that is seen now
 * @property {number} sequence
 * @property {number} revision
 * @property {number} time of its capture, milliseconds of its sender's clock
 * @property {number} age milliseconds since then
 * @property {boolean} late whether it is older than the bound, and shown as there was none in time
 */

/**
 * @typedef {object} Told
 * @property {(arrival: Arrival) => void} came the server sends on, and learns what the way costs
 * @property {(shown: Shown) => void} shown
 * @property {() => void} askKey
 */

const FLOOR = 500; // milliseconds after which a picture is shown whatever its age, as the engine does
const LONGEST = 60_000; // milliseconds: an age beyond it, or below zero, is of another machine's clock

export class Presenter {
  canvas = document.createElement("canvas");
  ages = new Ages();
  /** @type {number | null} milliseconds; what is older is shown twice a second at most */
  maxAge = null;
  tooOld = 0;
  #context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d", { alpha: false }));
  #shownAt = -Infinity;
  #time = -1; // of the capture of the last one shown
  #decoder;

  /** @param {Told} told */
  constructor(told) {
    this.told = told;
    this.#decoder = new Decoder((image, picture) => this.#show(image, picture), told.askKey);
  }

  /** A connection begins; the picture of the last one stays. */
  begin() {
    this.#decoder.close();
    this.#shownAt = -Infinity;
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
    const late = this.maxAge !== null && known(age) && age > this.maxAge && !this.#again(picture);
    this.told.came({ sequence: picture.sequence, age });
    if (late && now() - this.#shownAt < FLOOR) this.tooOld += 1;
    else this.#draw(image, picture, { age, late });
    image.close();
  }

  /**
   * Whether it is a stalled source's last picture, made again: it may be under a new prompt, and there is none newer.
   * Told by its capture, for numbers begin again when control goes over.
   * @param {Picture} picture
   */
  #again(picture) {
    return picture.time === this.#time;
  }

  /**
   * @param {ImageBitmap | VideoFrame} image
   * @param {Picture} picture
   * @param {{age: number, late: boolean}} timing
   */
  #draw(image, picture, { age, late }) {
    const [width, height] = "displayWidth" in image ? [image.displayWidth, image.displayHeight] : [image.width, image.height];
    const { canvas } = this;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height }); // clears: draw at once
    this.#context.drawImage(image, 0, 0);
    if (!this.#again(picture) && known(age)) this.ages.add(age, now());
    this.#shownAt = now();
    this.#time = picture.time;
    const { sequence, revision, time } = picture;
    this.told.shown({ sequence, revision, time, age, late });
  }
}

/** @param {number} age milliseconds */
function known(age) {
  return age >= 0 && age < LONGEST;
}
