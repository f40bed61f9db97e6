/** The WebSocket to the server: it comes back by itself, with longer and longer pauses. */

import { liveAddress, statusOf } from "./api.js";
import { pack, unpack, VERSION } from "./protocol.js";

/** @typedef {import("./protocol.js").Message} Message */
/** @typedef {import("./protocol.js").Picture} Picture */
/** @typedef {"connecting" | "reconnecting" | "full" | "idle" | "replaced" | "refused" | "ended" | "failed"} Away why there is no connection */

/**
 * @typedef {object} Ears
 * @property {() => Promise<object>} hello what is said first
 * @property {(message: Message) => void} message
 * @property {(picture: Picture) => void} picture
 * @property {(reason: Away) => void} away
 */

const FIRST_PAUSE = 250; // milliseconds
const LONGEST_PAUSE = 5000;
const MOST_QUIET = 8; // half seconds without a message after which a connection is gone: `stats` come each second
const SWAMPED = 4 * 2 ** 20; // bytes not yet sent: the network is slower than the pictures
/** @type {Record<number, Away>} close codes after which nothing is tried again by itself */
const FINAL = { 1008: "refused", 1011: "failed", 4001: "idle", 4003: "replaced" };

export class Link {
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {Map<number, {resolve: (answer: any) => void, reject: (fault: Error) => void}>} */
  #asked = new Map();
  #pause = FIRST_PAUSE;
  #timer = 0;
  #id = 0;
  #welcome = false; // whether this connection was welcomed
  #full = false; // whether the last attempt found no place
  #quiet = 0; // half seconds since the last message

  /**
   * @param {string} session an id, or "new"
   * @param {"control" | "view"} role
   * @param {Ears} ears
   */
  constructor(session, role, ears) {
    this.session = session;
    this.role = role;
    this.ears = ears;
  }

  get open() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  /** Whether the network takes another picture. */
  get ready() {
    return this.open && (this.#socket?.bufferedAmount ?? 0) < SWAMPED;
  }

  /** Connect now, whatever was under way. */
  connect() {
    this.close();
    this.#pause = FIRST_PAUSE;
    this.#open();
  }

  #open() {
    this.#welcome = false;
    const socket = new WebSocket(liveAddress(this.session, this.role));
    socket.binaryType = "arraybuffer";
    socket.onopen = async () => this.#say(socket, { type: "hello", ...(await this.ears.hello()) });
    socket.onmessage = ({ data }) => this.#hear(data);
    socket.onclose = ({ code }) => this.#lost(code);
    this.#socket = socket;
  }

  close() {
    clearTimeout(this.#timer);
    this.#drop();
    this.#forget();
  }

  /** Each half second: a network that is gone says nothing, for minutes. Counted, for a page that slept heard nothing. */
  beat() {
    if (!this.#welcome || !this.open || ++this.#quiet < MOST_QUIET) return;
    this.#drop();
    this.#lost(0);
  }

  #drop() {
    if (this.#socket) this.#socket.onclose = this.#socket.onmessage = this.#socket.onopen = null;
    this.#socket?.close();
    this.#socket = null;
  }

  /** @param {{type: string, [key: string]: unknown}} message lost where there is no connection */
  send(message) {
    if (this.#socket && this.open) this.#say(this.#socket, message);
  }

  /** @param {Picture} picture */
  sendPicture(picture) {
    if (this.open) this.#socket?.send(pack(picture));
  }

  /**
   * @param {{type: string, [key: string]: unknown}} message
   * @returns {Promise<any>} the `ack` or `file` that answers it; rejected with a `Refusal`
   */
  ask(message) {
    if (!this.open) return Promise.reject(new Refusal("not connected: wait until the page is live again"));
    const id = ++this.#id;
    this.send({ ...message, id });
    return new Promise((resolve, reject) => this.#asked.set(id, { resolve, reject }));
  }

  /** Whether this page asked for what is answered by `id`. @param {number} [id] */
  asked(id = 0) {
    return this.#asked.has(id);
  }

  /**
   * @param {WebSocket} socket
   * @param {object} message
   */
  #say(socket, message) {
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ v: VERSION, ...message }));
  }

  /** @param {ArrayBuffer | string} data */
  #hear(data) {
    this.#quiet = 0;
    if (data instanceof ArrayBuffer) return this.ears.picture(unpack(data));
    /** @type {Message} */
    const message = JSON.parse(data);
    if (message.type === "welcome") this.#welcomed(message.session);
    this.ears.message(message);
    this.#answer(message);
  }

  /** @param {string} session */
  #welcomed(session) {
    this.#pause = FIRST_PAUSE;
    this.#welcome = true;
    this.#full = false;
    this.session = session;
  }

  /** @param {Message} message */
  #answer(message) {
    if (message.type !== "ack" && message.type !== "file" && message.type !== "error") return;
    const asked = this.#asked.get(message.id ?? 0);
    this.#asked.delete(message.id ?? 0);
    if (message.type === "error") asked?.reject(new Refusal(message.message, message.field));
    else asked?.resolve(message);
  }

  /** @param {number} code */
  #lost(code) {
    this.#forget();
    const final = FINAL[code];
    if (final) return this.ears.away(final);
    this.ears.away(this.#full ? "full" : "reconnecting");
    this.#wait(() => this.#seek());
  }

  /** @param {() => void} then */
  #wait(then) {
    this.#timer = setTimeout(then, this.#pause * (0.75 + Math.random() / 2));
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE);
  }

  /** A page is not told why a WebSocket was refused, so the reason is asked for by HTTP before the next attempt. */
  async #seek() {
    const timer = this.#timer;
    const status = await statusOf(this.session === "new" ? "sessions" : `sessions/${this.session}`);
    if (timer !== this.#timer) return; // connected or closed meanwhile
    if (status === 401 || status === 403) return this.ears.away("refused");
    if (status === 0) return this.#wait(() => this.#seek());
    if (status === 404 && this.role === "view") return this.ears.away("ended");
    this.#full = !this.#welcome && status !== 404; // it answers, but admits nobody
    if (this.#full) this.ears.away("full");
    if (status === 404) this.session = "new";
    this.#open();
  }

  #forget() {
    for (const { reject } of this.#asked.values()) reject(new Refusal("the connection was lost: try again"));
    this.#asked.clear();
  }
}

/** What the server would not do; `field` names the parameter at fault. */
export class Refusal extends Error {
  /**
   * @param {string} message
   * @param {string} [field]
   */
  constructor(message, field) {
    super(message);
    this.field = field;
  }
}
