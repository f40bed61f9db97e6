/** How the page looks, which stays from visit to visit: view, theme, what is hidden. */

import { effect, signal } from "@preact/signals";

/** @typedef {"side" | "result" | "split"} View */
/** @typedef {"auto" | "dark" | "light"} Theme */

/** @type {readonly View[]} */
export const VIEWS = ["side", "result", "split"];
/** @type {readonly Theme[]} auto is as the system has it */
const THEMES = ["dark", "light", "auto"];
const VIEW_KEY = "millstream.view";
const THEME_KEY = "millstream.theme";

export class Look {
  view = signal(/** @type {View} */ (localStorage.getItem(VIEW_KEY) ?? "side"));
  theme = signal(/** @type {Theme} */ (localStorage.getItem(THEME_KEY) ?? "dark"));
  split = signal(50); // percent of the width that shows the source
  bare = signal(false); // whether the controls are hidden
  help = signal(false);

  constructor() {
    effect(() => localStorage.setItem(VIEW_KEY, this.view.value));
    effect(() => localStorage.setItem(THEME_KEY, this.theme.value));
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
    if (document.fullscreenElement) return document.exitFullscreen();
    await document.querySelector(".stage")?.requestFullscreen();
  }

  askFile() {
    /** @type {HTMLElement | null} */ (document.querySelector("#file"))?.click();
  }
}
