/** Pictures of a video element: a file of the user's, the demo clip, or a stream of camera or screen. */

import { Ticker } from "../ticker.js";
import { captureTime, cover } from "./source.js";

/** @typedef {import("./source.js").Source} Source */
/** @typedef {import("./source.js").Kind} Kind */

/** @implements {Source} */
export class VideoSource {
  #fresh = () => {};
  /** @type {number | undefined} */
  #captured = undefined;
  #moved = false; // whether a frame came since the last beat
  #ticker = new Ticker(() => this.#beat());

  /**
   * @param {Kind} kind
   * @param {(video: HTMLVideoElement) => Promise<void>} attach gives the element its pictures
   * @param {() => void} [ended] called when the pictures end for good
   */
  constructor(kind, attach, ended = () => {}) {
    this.kind = kind;
    this.attach = attach;
    this.ended = ended;
    this.video = document.createElement("video");
    Object.assign(this.video, { muted: true, playsInline: true, loop: true });
  }

  /** @param {() => void} fresh */
  async start(fresh) {
    this.#fresh = fresh;
    await this.attach(this.video);
    this.#watchTracks();
    await this.video.play();
    this.#watchFrames();
    this.#ticker.start();
  }

  stop() {
    this.#fresh = () => {};
    this.#ticker.stop();
    this.video.pause();
    for (const track of tracks(this.video)) track.stop();
    URL.revokeObjectURL(this.video.src);
    this.video.srcObject = null;
    this.video.removeAttribute("src");
  }

  /** @param {CanvasRenderingContext2D} context */
  paint(context) {
    const { videoWidth, videoHeight } = this.video;
    if (videoWidth) cover(context, this.video, videoWidth, videoHeight);
    return captureTime(this.#captured);
  }

  /** @returns {import("../protocol.js").Size | null} */
  size() {
    const { videoWidth, videoHeight } = this.video;
    return videoWidth ? [videoWidth, videoHeight] : null;
  }

  #watchFrames() {
    this.video.requestVideoFrameCallback((_, { captureTime: captured }) => {
      this.#captured = captured;
      this.#moved = true;
      this.#watchFrames();
      this.#fresh();
    });
  }

  /** A hidden page hears of no video frames, and a still screen gives none: both are looked at 30 times a second. */
  #beat() {
    const moved = this.#moved;
    this.#moved = false;
    if (!document.hidden && (this.kind !== "screen" || moved)) return;
    this.#captured = undefined;
    this.#fresh();
  }

  #watchTracks() {
    for (const track of tracks(this.video)) track.onended = this.ended;
  }
}

/** @param {HTMLVideoElement} video */
function tracks({ srcObject }) {
  return srcObject instanceof MediaStream ? srcObject.getTracks() : [];
}
