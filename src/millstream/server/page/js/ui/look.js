/** How the page looks, which stays from visit to visit: view, theme, what is hidden. */

import { effect, signal } from "@preact/signals";

/** @typedef {"side" | "result" | "split"} View */
/** @typedef {"auto" | "dark" | "light"} Theme */
/** @typedef {"no" | "screen" | "window"} Full whether the pictures fill the screen, or where that cannot be, the window */

/** @type {readonly View[]} */
export const VIEWS = ["side", "result", "split"];
/** @type {readonly Theme[]} auto is as the system has it */
const THEMES = ["dark", "light", "auto"];
const VIEW_KEY = "millstream.view";
const THEME_KEY = "millstream.theme";
const KEYS_KEY = "millstream.keys";

export class Look {
  view = signal(/** @type {View} */ (localStorage.getItem(VIEW_KEY) ?? "side"));
  theme = signal(/** @type {Theme} */ (localStorage.getItem(THEME_KEY) ?? "dark"));
  split = signal(50); // percent of the width that shows the source
  bare = signal(false); // whether the controls are hidden
  help = signal(false);
  full = signal(/** @type {Full} */ ("no"));
  keys = signal(localStorage.getItem(KEYS_KEY) !== "off"); // whether single keys do something

  constructor() {
    effect(() => localStorage.setItem(VIEW_KEY, this.view.value));
    effect(() => localStorage.setItem(THEME_KEY, this.theme.value));
    effect(() => localStorage.setItem(KEYS_KEY, this.keys.value ? "on" : "off"));
    document.addEventListener("fullscreenchange", () => (this.full.value = document.fullscreenElement ? "screen" : "no"));
    effect(() => void (document.documentElement.dataset["theme"] = this.theme.value));
  }

  nextView() {
    this.view.value = VIEWS[(VIEWS.indexOf(this.view.value) + 1) % VIEWS.length] ?? "side";
  }

  nextTheme() {
    this.theme.value = THEMES[(THEMES.indexOf(this.theme.value) + 1) % THEMES.length] ?? "dark";
  }

  toggleControls() {
    this.bare.value = !this.bare.value;
  }

  toggleHelp() {
    this.help.value = !this.help.value;
  }

  async toggleFullScreen() {
    if (this.full.value === "screen") return document.exitFullscreen();
    if (this.full.value === "window") return void (this.full.value = "no");
    const stage = document.querySelector(".stage");
    if (document.fullscreenEnabled) await stage?.requestFullscreen();
    else this.full.value = "window"; // as on an iPhone, where only videos may
  }

  askFile() {
    /** @type {HTMLElement | null} */ (document.querySelector("#file"))?.click();
  }
}
