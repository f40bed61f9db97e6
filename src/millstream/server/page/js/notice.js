/** A line on the picture that nobody asked for: it goes by itself, for the show goes on. */

import { signal } from "@preact/signals";

const LONGEST = 10_000; // milliseconds

export class Notice {
  text = signal("");
  #timer = 0;
  #prompts = "";
  #remark = ""; // on the prompts, as long as they are not those of another time
  #new = false; // whether the remark came since the last answer: it is on what is answered next

  /** @param {string} text */
  say(text) {
    clearTimeout(this.#timer);
    this.text.value = text;
    this.#timer = setTimeout(() => this.close(), LONGEST);
  }

  /** @param {string} text said of the prompts that are answered next */
  remark(text) {
    this.#remark = text;
    this.#new = true;
    this.say(text);
  }

  /**
   * Parameters were taken over: what was said of other prompts is no news any more.
   * @param {import("./protocol.js").Values} params
   */
  answered({ prompt, negative_prompt: negative }) {
    const prompts = JSON.stringify([prompt, negative]);
    if (prompts !== this.#prompts && !this.#new && this.text.value === this.#remark) this.close();
    this.#prompts = prompts;
    this.#new = false;
  }

  close() {
    clearTimeout(this.#timer);
    this.text.value = "";
  }
}
