/** The whole of a running page: link, source, settings and result, and the state that the user is told. */

import { signal } from "@preact/signals";
import { Link } from "./link.js";
import { Notice } from "./notice.js";
import { Presenter } from "./presenter.js";
import { now } from "./protocol.js";
import { Sender } from "./sender.js";
import { Settings } from "./settings.js";
import { receivable, sendable } from "./support.js";

/** @typedef {import("./protocol.js").Codec} Codec */
/** @typedef {import("./protocol.js").Size} Size */
/** @typedef {import("./link.js").Away} Away */
/** @typedef {"connecting" | "warming" | "live" | "late" | "stalled" | "lost" | Away} Phase */
/** @typedef {{fps: number, age: import("./protocol.js").Percentiles | null, sent: number, tooOld: number}} Seen */

const SESSION_KEY = "millstream.session";
const NEWS = ["failed", "away"]; // events whose message is said
/** @type {readonly Phase[]} in which a picture that is shown says how it goes on */
const GOING = ["warming", "live", "late", "stalled"];
const SECOND = 1000;
const MOST_AGE = 1e6; // milliseconds that an acknowledgement may hold
const FIRST_SIZE = /** @type {Size} */ ([512, 512]);

export class Show {
  phase = signal(/** @type {Phase} */ ("connecting"));
  /** @type {import("@preact/signals").Signal<"control" | "view">} */
  role;
  size = signal(FIRST_SIZE);
  device = signal("");
  session = signal("");
  viewers = signal(""); // the token for a viewer's link
  started = signal(false); // whether a result was ever shown
  /** @type {import("@preact/signals").Signal<import("./protocol.js").Stats | null>} */
  stats = signal(null);
  seen = signal(/** @type {Seen} */ ({ fps: 0, age: null, sent: 0, tooOld: 0 }));
  /** @type {import("@preact/signals").Signal<import("./protocol.js").ServerFile[]>} newest first */
  files = signal([]);
  recording = signal(false);
  notice = new Notice();
  /** @type {import("@preact/signals").Signal<import("./presenter.js").Shown | null>} */
  shown = signal(null);
  /** @type {Codec} of the pictures that are sent */
  #codec = "jpeg";
  /** @type {Codec[]} that failed although the browser promised them */
  #broken = [];

  /**
   * @param {string} session an id, or "new"
   * @param {"control" | "view"} role
   */
  constructor(session, role) {
    this.role = signal(role);
    this.link = new Link(session, role, {
      hello: () => this.#hello(),
      message: (message) => this.#hear(message),
      picture: (picture) => this.presenter.take(picture),
      away: (reason) => this.#away(reason),
    });
    this.presenter = new Presenter({
      came: (arrival) => this.#came(arrival),
      shown: (shown) => this.#showed(shown),
      askKey: () => this.link.send({ type: "key" }),
    });
    this.sender = new Sender(this.link, (codec) => this.#giveUp(codec));
    this.settings = new Settings(this.link);
    this.sender.resize(this.size.value);
  }

  start() {
    setInterval(() => this.#look(), SECOND / 2);
    this.connect();
  }

  connect() {
    this.phase.value = "connecting";
    this.link.connect();
  }

  /**
   * @param {import("./sources/source.js").Source} source
   * @returns {Promise<boolean>} whether it runs; see `Sender.run`
   */
  async run(source) {
    if (!(await this.sender.run(source))) return false;
    this.presenter.ages.reset();
    this.link.send({ type: "reset" });
    return true;
  }

  /** Become the one who controls the session. */
  takeControl() {
    this.link.send({ type: "take" });
  }

  async snapshot() {
    await this.#file({ type: "snapshot" });
  }

  async record() {
    await this.#file({ type: "record", on: !this.recording.value });
  }

  /** @param {{type: string, [key: string]: unknown}} message */
  async #file(message) {
    await this.link.ask(message).catch((fault) => this.notice.say(fault.message));
  }

  async #hello() {
    const size = this.sender.source?.size();
    const [send, receive] = await Promise.all([sendable(size ?? FIRST_SIZE), receivable()]);
    return { send: send.filter((codec) => !this.#broken.includes(codec)), receive, ...(size && { size }) };
  }

  /** @param {import("./protocol.js").Message} message */
  #hear(message) {
    switch (message.type) {
      case "welcome": return this.#welcome(message);
      case "credit": return this.sender.grant(message.upto);
      case "key": return this.sender.refresh();
      case "ack": return this.#acknowledged(message);
      case "building": return this.#building(message);
      case "stats": return this.#counted(message);
      case "file": return this.#received(message);
      case "event": return this.#happened(message);
      case "error": return void (message.id === undefined && this.notice.say(message.message));
    }
  }

  /** @param {import("./protocol.js").Welcome} welcome */
  #welcome(welcome) {
    const fresh = this.session.value !== "" && this.session.value !== welcome.session;
    this.session.value = welcome.session;
    this.viewers.value = welcome.viewers ?? "";
    if (welcome.role === "control") sessionStorage.setItem(SESSION_KEY, welcome.session);
    this.role.value = welcome.role;
    this.device.value = welcome.device;
    this.size.value = welcome.size;
    this.sender.revision = 0;
    this.phase.value = "warming";
    this.recording.value = welcome.recording;
    this.presenter.begin();
    this.#codec = welcome.send;
    if (welcome.role === "control") this.sender.begin(this.#codec, welcome.size);
    this.settings.begin(welcome, fresh);
    this.#bound();
  }

  /** @param {{id?: number, what: string}} message a model is loaded before the welcome, or a change is under way */
  #building({ id, what }) {
    if (this.phase.value === "connecting" || this.phase.value === "reconnecting") this.phase.value = "warming";
    else if (!this.link.asked(id)) this.settings.builds.heard(what);
  }

  /** @param {import("./protocol.js").Stats} stats */
  #counted(stats) {
    this.stats.value = stats;
    this.settings.builds.look(stats.building ?? false);
  }

  /** Who sends knows best: the engine counts a source as stalled that merely waits until the engine is free. */
  get #stalled() {
    return this.role.value === "control" ? this.sender.stalled : (this.stats.value?.stalled ?? false);
  }

  /** @param {import("./protocol.js").Ack} ack */
  #acknowledged({ id, rev, params, config, model, rebuilt }) {
    if (rev === undefined || !params) return; // that of a recording changes nothing
    this.sender.revision = rev;
    this.presenter.ages.reset();
    this.notice.answered(params);
    if (rebuilt) this.settings.builds.settle();
    if (!this.link.asked(id)) this.settings.accept({ params, config, model });
    const { width, height } = /** @type {{width?: number, height?: number}} */ (config ?? {});
    if (width && height) this.size.value = [width, height];
    this.sender.resize(this.size.value);
    this.#bound(params);
  }

  /** Who controls keeps the bound on the age here as well: the way back from the server counts. */
  #bound(params = this.settings.values.value.params) {
    const bound = params["max_age"];
    this.presenter.maxAge = typeof bound === "number" && this.role.value === "control" ? bound : null;
  }

  /** @param {import("./protocol.js").ServerFile} file */
  #received(file) {
    this.files.value = [file, ...this.files.value];
  }

  /** @param {import("./protocol.js").Happening} event */
  #happened(event) {
    /** @type {Record<string, Phase>} */
    const phases = { lost: "lost", back: "warming", idle: "idle", failed: "failed" };
    const phase = phases[event.name];
    if (phase) this.phase.value = phase;
    if (event.name === "recording" || event.name === "recorded") this.recording.value = event.name === "recording";
    if (event.name === "control") this.#control();
    if (event.name === "viewer") this.#watch();
    if (event.name === "said") this.notice.remark(event.message ?? "");
    if (NEWS.includes(event.name)) this.notice.say(event.message ?? "");
  }

  #control() {
    this.role.value = "control";
    this.sender.begin(this.#codec, this.size.value);
    this.#bound();
  }

  #watch() {
    this.role.value = "view";
    this.sender.end();
    this.#bound();
  }

  /** @param {import("./presenter.js").Arrival} arrival */
  #came({ sequence, age }) {
    this.link.send({ type: "ack", seq: sequence, age_ms: Math.min(Math.max(0, age), MOST_AGE) });
  }

  /** @param {import("./presenter.js").Shown} shown */
  #showed(shown) {
    this.shown.value = shown;
    this.started.value = true;
    if (GOING.includes(this.phase.value)) this.phase.value = this.#stalled ? "stalled" : shown.late ? "late" : "live";
  }

  /** @param {Away} reason */
  #away(reason) {
    this.sender.end();
    this.phase.value = reason;
    this.stats.value = null;
  }

  /** @param {Codec} codec */
  #giveUp(codec) {
    this.#broken.push(codec);
    this.connect();
  }

  #look() {
    this.link.beat();
    if (this.#stalled && (this.phase.value === "live" || this.phase.value === "late")) this.phase.value = "stalled";
    const { ages, tooOld } = this.presenter;
    this.seen.value = { fps: ages.rate(now()), age: ages.percentiles(), sent: this.sender.painted, tooOld };
  }
}

/** @returns {string} the session that this tab had before a reload, or "new" */
export function lastSession() {
  return sessionStorage.getItem(SESSION_KEY) ?? "new";
}
