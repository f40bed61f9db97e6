/** Keyboard shortcuts: one letter each, silent while a text is written, or where they are turned off. */

import { KINDS } from "./sources/choice.js";

/** @typedef {{keys: string, does: string}} Shortcut */

/** @type {Shortcut[]} what the help sheet lists */
export const SHORTCUTS = [
  { keys: "1 to 5", does: "source: camera, screen, drawing, file, demo" },
  { keys: "V", does: "view: side by side, result alone, split" },
  { keys: "F", does: "full screen" },
  { keys: "H", does: "hide or show the controls" },
  { keys: "P", does: "write the prompt" },
  { keys: "S", does: "snapshot" },
  { keys: "R", does: "start or end a recording" },
  { keys: "U", does: "undo a change" },
  { keys: "B, E", does: "drawing: brush, eraser" },
  { keys: "[ ]", does: "drawing: a smaller or larger brush" },
  { keys: "Ctrl Z", does: "drawing: undo a stroke" },
  { keys: "Arrows", does: "on the drawing: move the brush, with Shift further" },
  { keys: "Space", does: "on the drawing: brush down, or up; Escape lifts it" },
  { keys: "L", does: "colours: dark, light, as the system has them" },
  { keys: "?", does: "this sheet" },
];

/**
 * @param {import("./show.js").Show} show
 * @param {import("./sources/choice.js").Sources} sources
 * @param {import("./ui/look.js").Look} look
 */
export function listen(show, sources, look) {
  /** @type {Record<string, () => unknown>} */
  const actions = {
    v: () => look.nextView(),
    f: () => look.toggleFullScreen(),
    h: () => look.toggleControls(),
    p: () => /** @type {HTMLElement | null} */ (document.querySelector(".prompts textarea"))?.focus(),
    s: () => show.snapshot(),
    r: () => show.record(),
    u: () => show.role.value === "control" && show.settings.undo(),
    b: () => sources.drawing.use({ eraser: false }),
    e: () => sources.drawing.use({ eraser: true }),
    "[": () => sources.drawing.scaleBrush(1 / 1.25),
    "]": () => sources.drawing.scaleBrush(1.25),
    l: () => look.nextTheme(),
    "?": () => look.toggleHelp(),
  };
  KINDS.forEach((kind, i) => (actions[i + 1] = () => pick(kind, sources, look)));
  addEventListener("keydown", (event) => act(event, actions, sources, look));
}

/**
 * @param {KeyboardEvent} event
 * @param {Record<string, () => unknown>} actions
 * @param {import("./sources/choice.js").Sources} sources
 * @param {import("./ui/look.js").Look} look
 */
function act(event, actions, sources, look) {
  if (event.repeat || event.altKey || writes(event.target)) return;
  if (event.ctrlKey || event.metaKey) {
    if (event.key !== "z" || sources.kind.value !== "drawing") return;
    event.preventDefault();
    return sources.drawing.undo();
  }
  const action = actions[event.key.toLowerCase()];
  if (!action || !look.keys.value) return;
  event.preventDefault();
  action();
}

/**
 * @param {import("./sources/source.js").Kind} kind
 * @param {import("./sources/choice.js").Sources} sources
 * @param {import("./ui/look.js").Look} look
 */
function pick(kind, sources, look) {
  return kind === "file" ? look.askFile() : sources.choose(kind);
}

/** @param {EventTarget | null} target */
function writes(target) {
  if (target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement) return true;
  return target instanceof HTMLInputElement && !["range", "checkbox", "radio", "color"].includes(target.type);
}
