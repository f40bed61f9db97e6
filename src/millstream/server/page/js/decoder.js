/** From encoded pictures to pictures that can be drawn. Nothing waits in line for long: the newest wins. */

/** @typedef {import("./protocol.js").Picture} Picture */
/** @typedef {import("./protocol.js").Codec} Codec */
/** @typedef {(image: ImageBitmap | VideoFrame, picture: Picture) => void} Show takes the image over */

const LONGEST_LINE = 8; // pictures in the decoder; beyond it, all up to the next key picture are left out

/** Decodes pictures of any codec, in order. */
export class Decoder {
  /** @type {JpegDecoder | VideoPictureDecoder | null} */
  #inner = null;
  /** @type {Codec | null} */
  #codec = null;

  /**
   * @param {Show} show
   * @param {() => void} askKey asks the sender for a key picture
   */
  constructor(show, askKey) {
    this.show = show;
    this.askKey = askKey;
  }

  /** @param {Picture} picture */
  decode(picture) {
    if (picture.codec !== this.#codec) this.#begin(picture.codec);
    this.#inner?.decode(picture);
  }

  /** @param {Codec} codec */
  #begin(codec) {
    this.close();
    this.#codec = codec;
    this.#inner = codec === "jpeg" ? new JpegDecoder(this.show) : new VideoPictureDecoder(codec, this.show, this.askKey);
  }

  close() {
    this.#inner?.close();
    this.#inner = this.#codec = null;
  }
}

class JpegDecoder {
  /** @type {Picture | null} */
  #next = null;
  #busy = false;

  /** @param {Show} show */
  constructor(show) {
    this.show = show;
  }

  /** @param {Picture} picture */
  decode(picture) {
    this.#next = picture;
    if (!this.#busy) this.#work();
  }

  async #work() {
    this.#busy = true;
    while (this.#next) {
      const picture = this.#next;
      this.#next = null;
      const image = await createImageBitmap(new Blob([picture.data], { type: "image/jpeg" })).catch(() => null);
      if (image) this.show(image, picture);
    }
    this.#busy = false;
  }

  close() {
    this.show = (/** @type {ImageBitmap | VideoFrame} */ image) => image.close();
  }
}

class VideoPictureDecoder {
  /** @type {VideoDecoder | null} */
  #decoder = null;
  /** @type {Map<number, Picture>} */
  #waiting = new Map();
  #name = "";
  #needsKey = true;

  /**
   * @param {Codec} codec
   * @param {Show} show
   * @param {() => void} askKey
   */
  constructor(codec, show, askKey) {
    this.codec = codec;
    this.show = show;
    this.askKey = askKey;
  }

  /** @param {Picture} picture */
  decode(picture) {
    if (this.#waiting.size > LONGEST_LINE) this.#lose();
    if (this.#needsKey && !picture.key) return;
    if (picture.key) this.#configure(picture);
    this.#needsKey = false;
    this.#waiting.set(picture.sequence, picture);
    const type = picture.key ? "key" : "delta";
    this.#decoder?.decode(new EncodedVideoChunk({ type, timestamp: picture.sequence, data: picture.data }));
  }

  /** @param {Picture} picture */
  #configure(picture) {
    const name = this.codec === "vp8" ? "vp8" : h264Name(picture.data);
    if (this.#decoder && name === this.#name) return;
    this.#name = name;
    this.#decoder ??= new VideoDecoder({ output: (frame) => this.#hand(frame), error: () => this.#lose() });
    this.#decoder.configure({ codec: name, optimizeForLatency: true });
  }

  /** @param {VideoFrame} frame */
  #hand(frame) {
    const picture = this.#waiting.get(frame.timestamp);
    for (const sequence of this.#waiting.keys()) {
      if (sequence > frame.timestamp) break;
      this.#waiting.delete(sequence);
    }
    if (picture) this.show(frame, picture);
    else frame.close();
  }

  #lose() {
    this.close();
    this.#decoder = null;
    this.#waiting.clear();
    this.#needsKey = true;
    this.askKey();
  }

  close() {
    if (this.#decoder && this.#decoder.state !== "closed") this.#decoder.close();
  }
}

/**
 * The codec string of an Annex B stream, read from the sequence parameter set that leads a key picture (RFC 6381).
 * @param {Uint8Array} data
 */
export function h264Name(data) {
  for (let i = 0; i + 6 < data.length; i++) {
    const start = data[i] === 0 && data[i + 1] === 0 && data[i + 2] === 1;
    if (!start || ((data[i + 3] ?? 0) & 0x1f) !== 7) continue;
    return `avc1.${[...data.slice(i + 4, i + 7)].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  }
  return "avc1.42e01f";
}
