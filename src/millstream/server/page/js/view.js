/** The viewer's page: the picture alone, for friends and as a browser source. */

import { effect } from "@preact/signals";
import { Show } from "./show.js";
import { wordsFor } from "./words.js";

const show = new Show(new URL(location.href).searchParams.get("session") ?? "", "view");
show.presenter.canvas.setAttribute("role", "img");
show.presenter.canvas.setAttribute("aria-label", "the shared picture, live");
document.querySelector("main")?.append(show.presenter.canvas);

const status = /** @type {HTMLElement} */ (document.querySelector("[role=status]"));
effect(() => {
  const phase = show.phase.value;
  document.body.dataset["phase"] = phase;
  document.body.classList.toggle("started", show.started.value);
  status.textContent = phase === "live" ? "" : wordsFor(phase, "view");
});
show.start();
