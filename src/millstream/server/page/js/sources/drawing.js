/** A canvas to draw on: strokes with brush, colour, eraser and pressure, each of which can be undone. */

import { signal } from "@preact/signals";
import { now } from "../protocol.js";
import { Ticker } from "../ticker.js";
import { cover } from "./source.js";

/** @typedef {import("./source.js").Source} Source */
/** @typedef {{x: number, y: number, pressure: number}} Point in parts of the canvas, 0 to 1; pressure 0 to 1 */
/** @typedef {{colour: string, size: number, points: Point[]}} Stroke size in parts of the height; no points: a clean sheet */
/** @typedef {{colour: string, size: number, eraser: boolean}} Brush */
/** @typedef {number | "keys"} Pen what moves the brush: a pointer by its id, or the keyboard */

const PAPER = "#f4f1ea";
const SIDE = 1024; // pixels of the drawing's own picture
const MOST_STROKES = 500; // that can be undone; older ones are part of the paper
export const SMALLEST = 0.004; // brush sizes, in parts of the height
export const LARGEST = 0.2;
const DOT = 0.01; // pixels: canvases paint no line without a length
export const STEADY = 0.5; // the pressure that browsers report for devices without it

/** @implements {Source} */
export class DrawingSource {
  kind = /** @type {const} */ ("drawing");
  brush = signal(/** @type {Brush} */ ({ colour: "#d1495b", size: 0.03, eraser: false }));
  /** @type {Stroke[]} */
  strokes = [];
  place = signal({ x: 0.5, y: 0.5 }); // of the brush, wherever it came last
  pen = signal(/** @type {Pen | null} */ (null)); // what draws the last of the strokes, until it ends
  #paper = sheet();
  #ink = sheet();
  #fresh = () => {};
  #ticker = new Ticker(() => this.#fresh());

  constructor() {
    fill(this.#paper);
    fill(this.#ink);
  }

  /** @param {() => void} fresh */
  async start(fresh) {
    this.#fresh = fresh;
    this.#ticker.start(); // an unchanged drawing is sent too: the prompt may change
  }

  stop() {
    this.#ticker.stop();
  }

  /** @returns {import("../protocol.js").Size} */
  size() {
    return [SIDE, SIDE];
  }

  /** @param {CanvasRenderingContext2D} context */
  paint(context) {
    cover(context, this.#ink.canvas, SIDE, SIDE);
    return now();
  }

  /** @param {Partial<Brush>} changes */
  use(changes) {
    this.brush.value = { ...this.brush.value, ...changes };
  }

  /** @param {number} factor */
  scaleBrush(factor) {
    this.use({ size: Math.min(LARGEST, Math.max(SMALLEST, this.brush.value.size * factor)) });
  }

  /**
   * @param {Point} point
   * @param {Pen} pen
   */
  begin(point, pen) {
    const { colour, size, eraser } = this.brush.value;
    this.#add({ colour: eraser ? PAPER : colour, size, points: [point] });
    this.place.value = point;
    this.pen.value = pen;
  }

  /** @param {Point} point of the stroke that was begun; of none where the brush is up, or it was undone meanwhile */
  extend(point) {
    this.place.value = point;
    const stroke = this.strokes.at(-1);
    if (this.pen.value === null || !stroke) return;
    stroke.points.push(point);
    draw(this.#ink, stroke, stroke.points.length - 1);
  }

  end() {
    this.pen.value = null;
  }

  undo() {
    this.end();
    this.strokes.pop();
    this.#redraw();
  }

  /** A clean sheet, which can be undone. */
  clear() {
    this.end();
    if (this.strokes.at(-1)?.points.length !== 0) this.#add({ colour: PAPER, size: 0, points: [] });
  }

  /** @param {Stroke} stroke */
  #add(stroke) {
    if (this.strokes.length === MOST_STROKES) draw(this.#paper, /** @type {Stroke} */ (this.strokes.shift()));
    this.strokes.push(stroke);
    draw(this.#ink, stroke);
  }

  #redraw() {
    this.#ink.drawImage(this.#paper.canvas, 0, 0);
    for (const stroke of this.strokes) draw(this.#ink, stroke);
  }
}

/**
 * @param {PointerEvent} event
 * @param {Element} element
 * @returns {Point} where the event is on the square drawing that covers the element
 */
export function pointOf(event, element) {
  const box = element.getBoundingClientRect();
  const side = Math.max(box.width, box.height);
  return {
    x: 0.5 + (event.clientX - box.left - box.width / 2) / side,
    y: 0.5 + (event.clientY - box.top - box.height / 2) / side,
    pressure: event.pointerType === "pen" ? event.pressure : STEADY,
  };
}

/**
 * @param {{width: number, height: number}} picture
 * @returns {[number, number]} the parts of the square drawing, across and down about its middle, that the picture shows
 */
export function shownIn({ width, height }) {
  const side = Math.max(width, height);
  return [width / side, height / side];
}

function sheet() {
  const canvas = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE });
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
}

/** @param {CanvasRenderingContext2D} context */
function fill(context) {
  context.fillStyle = PAPER;
  context.fillRect(0, 0, SIDE, SIDE);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Stroke} stroke
 * @param {number} first of its points that is not drawn yet
 */
function draw(context, { colour, size, points }, first = 0) {
  if (points.length === 0) fill(context);
  context.strokeStyle = colour;
  context.lineCap = "round";
  points.slice(first).forEach((point, i) => {
    const from = points[first + i - 1] ?? point;
    context.lineWidth = Math.max(1, 2 * point.pressure * size * SIDE);
    context.beginPath();
    context.moveTo(from.x * SIDE, from.y * SIDE);
    context.lineTo(point.x * SIDE + DOT, point.y * SIDE);
    context.stroke();
  });
}
