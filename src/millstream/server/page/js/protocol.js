/** The wire format, version 1: a binary header before every picture, and JSON messages. See docs/protocol.md. */

export const VERSION = 1;
export const HEADER_BYTES = 20;
const PICTURE = 1;
const KEY = 1;

/** @typedef {"jpeg" | "h264" | "vp8"} Codec */

/** @type {readonly Codec[]} the position is the number in the header */
const CODECS = ["jpeg", "h264", "vp8"];

/**
 * One encoded picture. `time` is milliseconds of its sender's clock at capture, `revision` that of the parameters.
 * @typedef {{codec: Codec, key: boolean, sequence: number, time: number, revision: number, data: Uint8Array<ArrayBuffer>}} Picture
 */

/** @typedef {[number, number]} Size width and height in pixels */
/** @typedef {Record<string, unknown>} Values fields and their values, as the schema names them */
/** @typedef {{model: Values, config: Values, params: Values}} Settings */
/** @typedef {{p50: number, p95: number, p99: number}} Percentiles */

/**
 * @typedef {object} Stats
 * @property {number} fps_in
 * @property {number} fps_out
 * @property {Percentiles} [age_ms]
 * @property {number} [skipped]
 * @property {number} [dropped]
 * @property {number} [aged]
 * @property {string} [backend]
 * @property {string} device
 * @property {number | null} [memory] bytes
 * @property {number} [steps]
 * @property {number} [width]
 * @property {number} [height]
 * @property {string[]} [traded]
 * @property {number} [viewers]
 * @property {boolean} [building]
 * @property {boolean} [stalled]
 */

/**
 * @typedef {object} Welcome
 * @property {string} session
 * @property {string} [viewers]
 * @property {"control" | "view"} role
 * @property {Codec} send
 * @property {Codec} receive
 * @property {Size} size
 * @property {boolean} recording
 * @property {Settings} settings
 * @property {{model: JsonSchema, config: JsonSchema, params: JsonSchema}} schema
 * @property {number} version
 * @property {string} device
 * @property {string} [backend]
 * @property {Values} [limits]
 */

/** @typedef {{[key: string]: any}} JsonSchema as pydantic writes it */

/** @typedef {{id?: number, rev?: number, params?: Values, config?: Values, model?: Values, rebuilt?: boolean}} Ack */
/** @typedef {{id?: number, field?: string, message: string}} Fault */
/** @typedef {{id?: number, kind: "snapshot" | "recording", url: string, name: string, bytes: number, seconds?: number}} ServerFile */
/** @typedef {{name: string, message?: string}} Happening */

/**
 * @typedef {({type: "welcome"} & Welcome) | {type: "credit", upto: number} | {type: "key"} | ({type: "ack"} & Ack)
 *   | {type: "building", id?: number, what: string} | ({type: "error"} & Fault) | ({type: "stats"} & Stats)
 *   | ({type: "event"} & Happening) | ({type: "file"} & ServerFile)} Message
 */

/**
 * @param {Picture} picture
 * @returns {ArrayBuffer} header and payload
 */
export function pack(picture) {
  const bytes = new Uint8Array(HEADER_BYTES + picture.data.byteLength);
  const view = new DataView(bytes.buffer);
  bytes.set([VERSION, PICTURE, CODECS.indexOf(picture.codec), picture.key ? KEY : 0]);
  view.setUint32(4, picture.sequence, true);
  view.setFloat64(8, picture.time, true);
  view.setUint32(16, picture.revision, true);
  bytes.set(picture.data, HEADER_BYTES);
  return bytes.buffer;
}

/**
 * @param {ArrayBuffer} buffer
 * @returns {Picture}
 * @throws {RangeError} when it is no picture of this version
 */
export function unpack(buffer) {
  if (buffer.byteLength <= HEADER_BYTES) throw new RangeError("a message without a picture");
  const view = new DataView(buffer);
  const codec = CODECS[view.getUint8(2)];
  if (view.getUint8(0) !== VERSION || view.getUint8(1) !== PICTURE || !codec) {
    throw new RangeError("a message of another version: reload the page");
  }
  return {
    codec,
    key: (view.getUint8(3) & KEY) !== 0,
    sequence: view.getUint32(4, true),
    time: view.getFloat64(8, true),
    revision: view.getUint32(16, true),
    data: new Uint8Array(buffer, HEADER_BYTES),
  };
}

/** Milliseconds of the clock that stamps captures; the same in all pages of one machine. */
export function now() {
  return performance.timeOrigin + performance.now();
}
