/** The page: a source beside what the stream makes of it, and everything that steers it. */

import { render } from "preact";
import { listen } from "./keys.js";
import { lastSession, Show } from "./show.js";
import { Sources } from "./sources/choice.js";
import { App } from "./ui/app.js";
import { html } from "./ui/html.js";
import { Look } from "./ui/look.js";

const show = new Show(lastSession(), "control");
const sources = new Sources(show);
const look = new Look();

render(html`<${App} show=${show} sources=${sources} look=${look} />`, document.body);
listen(show, sources, look);
Object.assign(globalThis, { millstream: { show, sources, look } }); // for scripts in the console
sources.choose(sources.remembered());
show.start();
