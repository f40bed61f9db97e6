/** What the page says about its state. */

/** @typedef {import("./show.js").Phase} Phase */

/** @type {Record<Phase, string>} */
const WORDS = {
  connecting: "Connecting",
  warming: "Warming up: the first picture is on its way",
  live: "Live",
  late: "Every picture is older than max age allows: allow more, or make less of it with fewer steps",
  stalled: "The source has stalled: the last picture stays",
  lost: "The engine stopped and is being restarted: the last picture stays",
  failed: "The engine does not start: see the server's log, then choose another model or size",
  reconnecting: "Reconnecting: the last picture stays",
  full: "The server is full: the page tries again by itself",
  idle: "The session ended, as nothing came for a while",
  replaced: "Another page has taken over this session",
  refused: "Not allowed: open the address with the token that the server printed",
  ended: "This session has ended",
};

/** @type {Partial<Record<Phase, string>>} */
const FOR_VIEWERS = {
  warming: "Waiting for the first picture",
  full: "Too many are watching: the page tries again by itself",
};

/** @type {Record<Phase, string>} the same in a word or two */
export const BRIEFLY = {
  connecting: "Connecting",
  warming: "Warming up",
  live: "Live",
  late: "Over the bound",
  stalled: "Source stalled",
  lost: "Restarting",
  failed: "Failed",
  reconnecting: "Reconnecting",
  full: "Server full",
  idle: "Ended",
  replaced: "Taken over",
  refused: "Not allowed",
  ended: "Ended",
};

/**
 * @param {Phase} phase
 * @param {"control" | "view"} role
 */
export function wordsFor(phase, role) {
  return (role === "view" && FOR_VIEWERS[phase]) || WORDS[phase];
}

/** @param {number} bytes */
export function inBytes(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return `${(bytes / 1000 ** power).toFixed(power > 2 ? 1 : 0)} ${units[power]}`;
}
