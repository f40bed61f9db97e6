/** Which codecs this browser encodes and decodes, best first. */

/** @typedef {import("./protocol.js").Codec} Codec */
/** @typedef {import("./protocol.js").Size} Size */

const LARGE = 1280 * 720;
const BITS_PER_PIXEL = 0.5; // detailed pictures stay sharp: 4 Mbit/s at 512x512 and 30 a second
const RATE = 30;

/**
 * @param {Codec} codec
 * @param {Size} size
 * @returns {VideoEncoderConfig}
 */
export function encoding(codec, [width, height]) {
  const common = {
    width,
    height,
    framerate: RATE,
    bitrate: Math.round(width * height * RATE * BITS_PER_PIXEL),
    latencyMode: /** @type {const} */ ("realtime"),
  };
  if (codec === "vp8") return { ...common, codec: "vp8" };
  const level = width * height > LARGE ? "33" : "1f"; // 5.1, or 3.1 that every decoder knows
  return { ...common, codec: `avc1.42e0${level}`, avc: { format: "annexb" } };
}

/**
 * @param {Size} size
 * @returns {Promise<Codec[]>} what can be sent; JPEG always can, as it needs a canvas alone
 */
export async function sendable(size) {
  if (!("VideoEncoder" in globalThis)) return ["jpeg"];
  return known(async (codec) => (await VideoEncoder.isConfigSupported(encoding(codec, size))).supported);
}

/** @returns {Promise<Codec[]>} what can be received */
export async function receivable() {
  if (!("VideoDecoder" in globalThis)) return ["jpeg"];
  return known(async (codec) => {
    const name = codec === "vp8" ? "vp8" : "avc1.42e01f";
    return (await VideoDecoder.isConfigSupported({ codec: name })).supported;
  });
}

/**
 * @param {(codec: Codec) => Promise<boolean | undefined>} supports
 * @returns {Promise<Codec[]>}
 */
async function known(supports) {
  /** @type {Codec[]} */
  const codecs = ["h264", "vp8"];
  const answers = await Promise.all(codecs.map((codec) => supports(codec).catch(() => false)));
  return [...codecs.filter((_, i) => answers[i]), "jpeg"];
}
