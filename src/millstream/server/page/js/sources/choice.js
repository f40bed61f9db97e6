/** Which source runs: one at a time, the last one goes on until the new one gives pictures. */

import { signal } from "@preact/signals";
import { cameras, cameraSource, screenSource } from "./devices.js";
import { demoSource, fileSource } from "./clips.js";
import { DrawingSource } from "./drawing.js";

/** @typedef {import("./source.js").Kind} Kind */
/** @typedef {import("./source.js").Source} Source */

const KEY = "millstream.source";
/** @type {readonly Kind[]} */
export const KINDS = ["camera", "screen", "drawing", "file", "demo"];

export class Sources {
  kind = signal(/** @type {Kind | null} */ (null));
  fault = signal("");
  /** @type {import("@preact/signals").Signal<MediaDeviceInfo[]>} */
  cameras = signal([]);
  camera = signal("");
  drawing = new DrawingSource();

  /** @param {import("../show.js").Show} show */
  constructor(show) {
    this.show = show;
  }

  /** @returns {Kind} what a page starts with: nothing that asks for permission */
  remembered() {
    return localStorage.getItem(KEY) === "drawing" ? "drawing" : "demo";
  }

  /**
   * @param {Kind} kind
   * @param {File} [file]
   */
  async choose(kind, file) {
    this.fault.value = "";
    try {
      if (!(await this.show.run(this.#make(kind, file)))) return;
      this.kind.value = kind;
      localStorage.setItem(KEY, kind);
      if (kind === "camera") this.cameras.value = await cameras();
    } catch (fault) {
      this.fault.value = `${kind}: ${/** @type {Error} */ (fault).message}`;
    }
  }

  /** @param {string} device */
  chooseCamera(device) {
    this.camera.value = device;
    return this.choose("camera");
  }

  /**
   * @param {Kind} kind
   * @param {File} [file]
   * @returns {Source}
   */
  #make(kind, file) {
    const ended = () => this.#ended(kind);
    switch (kind) {
      case "camera": return cameraSource(this.camera.value, ended);
      case "screen": return screenSource(ended);
      case "drawing": return this.drawing;
      case "demo": return demoSource();
      case "file":
        if (!file) throw new Error("choose a video file");
        return fileSource(file);
    }
  }

  /** @param {Kind} kind */
  #ended(kind) {
    this.fault.value = `${kind}: it ended; choose a source`;
  }
}
