/** The sheet of keyboard shortcuts. */

import { useEffect, useRef } from "preact/hooks";
import { SHORTCUTS } from "../keys.js";
import { html } from "./html.js";

/** @param {{look: import("./look.js").Look}} props */
export function Help({ look }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const open = look.help.value;
  useEffect(() => (open ? dialog.current?.showModal() : dialog.current?.close()), [open]);
  return html`
    <dialog ref=${dialog} class="help" aria-labelledby="help-title" onClose=${() => (look.help.value = false)}>
      <h2 id="help-title">Keyboard shortcuts</h2>
      <dl>${SHORTCUTS.map(({ keys, does }) => html`<div><dt><kbd>${keys}</kbd></dt><dd>${does}</dd></div>`)}</dl>
      <label class="row"><input type="checkbox" checked=${look.keys.value}
        onChange=${(/** @type {any} */ event) => (look.keys.value = event.currentTarget.checked)} /> Single keys work (Ctrl Z and those on the drawing always do)</label>
      <form method="dialog"><button>Close</button></form>
    </dialog>`;
}
