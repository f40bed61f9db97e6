/** Which controls change nothing as things stand, and why. They stay in reach, for they may be set before they count. */

/** @typedef {import("./protocol.js").Settings} Settings */

const NO_GUIDANCE = "while guidance is none";

/** @type {Record<string, (settings: Settings) => string>} the reason; empty where the control has an effect */
const REASONS = {
  negative_prompt: ({ config }) =>
    config["guidance"] === "none" ? NO_GUIDANCE : config["guidance"] === "self-negative" ? "while guidance is self-negative" : "",
  guidance_scale: ({ config }) => (config["guidance"] === "none" ? NO_GUIDANCE : ""),
  delta: ({ config }) => (config["guidance"] === "none" ? NO_GUIDANCE : config["guidance"] === "full" ? "while guidance is full" : ""),
  strength: ({ params }) => (params["t_index"] ? "while t index is set" : ""),
  similarity_threshold: ({ params }) => (params["similarity_filter"] ? "" : "while the similarity filter is off"),
  max_skip: ({ params }) => (params["similarity_filter"] ? "" : "while the similarity filter is off"),
};

/**
 * @param {string} name of a field
 * @param {Settings} settings
 * @returns {string} why it has no effect now; empty where it has one
 */
export function idle(name, settings) {
  return REASONS[name]?.(settings) ?? "";
}
