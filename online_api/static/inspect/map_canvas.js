// Draws the map on a canvas: zoom and drag with pointer or keyboard, one product chosen at a time.

import { element } from "./dom.js";

const RADIUS = 3, REACH = 14, CLOSEST = 24; // pixels, pixels, and the largest zoom
const EDGE = 0.92; // of half the canvas, so that outermost products are not cut

export class MapCanvas {
  // `points` and `marks` have place, title and product_id; `choose` hears which one is pointed at, `open` of a click.
  constructor(points, marks, choose, open) {
    this.points = points;
    this.marks = marks;
    this.all = [...points, ...marks.map((mark) => ({ ...mark, marked: true }))];
    this.choose = choose;
    this.open = open;
    this.chosen = null;
    this.scale = 1;
    this.centre = [0, 0];
    this.node = element("canvas", {
      class: "map", tabindex: "0", role: "application",
      "aria-label": "Map of products. Arrow keys go from product to product, plus and minus zoom, Enter opens the product.",
    });
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.node);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  buttons() {
    const button = (text, label, act) => element("button", { type: "button", class: "small", "aria-label": label, onclick: act }, text);
    return element("div", { class: "zoom" },
      button("+", "Zoom in", () => this.zoom(1.5)), button("−", "Zoom out", () => this.zoom(1 / 1.5)),
      button("⤢", "Show all", () => { this.scale = 1; this.centre = [0, 0]; this.draw(); }));
  }

  // ---- from the map to the canvas and back

  get half() {
    return [this.node.clientWidth / 2, this.node.clientHeight / 2];
  }

  get unit() {
    return Math.min(...this.half) * EDGE * this.scale; // pixels from 0 to 1 of the map
  }

  at([x, y]) {
    const [width, height] = this.half;
    return [width + (x - this.centre[0]) * this.unit, height - (y - this.centre[1]) * this.unit];
  }

  nearest(x, y, among = this.all, reach = REACH) {
    let best = null, distance = reach;
    for (const point of among) {
      const [left, top] = this.at(point.place);
      // Of equally near ones, a marked product is what the person looks for.
      const away = Math.hypot(left - x, top - y) - (point.marked ? 2 : 0);
      if (away < distance) [best, distance] = [point, away];
    }
    return best;
  }

  // ---- what a person does

  listen() {
    const held = new Map(); // pointers that are down
    let moved = 0;
    const spot = (event) => {
      const box = this.node.getBoundingClientRect();
      return [event.clientX - box.x, event.clientY - box.y];
    };
    this.node.addEventListener("pointerdown", (event) => {
      this.node.setPointerCapture(event.pointerId);
      held.set(event.pointerId, spot(event));
      moved = 0;
    });
    this.node.addEventListener("pointermove", (event) => {
      const now = spot(event), before = held.get(event.pointerId);
      if (!before) {
        this.select(this.nearest(...now));
        return;
      }
      const other = [...held].find(([id]) => id !== event.pointerId)?.[1];
      if (other) this.zoom(Math.hypot(now[0] - other[0], now[1] - other[1]) / Math.max(Math.hypot(before[0] - other[0], before[1] - other[1]), 1), other);
      else this.move(now[0] - before[0], now[1] - before[1]);
      moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
      held.set(event.pointerId, now);
    });
    this.node.addEventListener("pointerup", (event) => {
      held.delete(event.pointerId);
      const point = this.nearest(...spot(event));
      if (moved > 4 || !point) return;
      // A finger cannot point first: its first touch names the product, and the name is a link.
      if (event.pointerType === "mouse") this.open(point);
      else this.select(point);
    });
    this.node.addEventListener("pointercancel", (event) => held.delete(event.pointerId));
    this.node.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 400), spot(event));
    }, { passive: false });
    this.node.addEventListener("keydown", (event) => this.key(event));
    this.node.addEventListener("focus", () => { if (!this.chosen) this.select(this.nearest(...this.half, this.all, Infinity)); });
  }

  key(event) {
    const directions = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in directions) this.step(directions[event.key]);
    else if (event.key === "+" || event.key === "=") this.zoom(1.5, this.chosen && this.at(this.chosen.place));
    else if (event.key === "-") this.zoom(1 / 1.5, this.chosen && this.at(this.chosen.place));
    else if (event.key === "Enter" && this.chosen) this.open(this.chosen);
    else return;
    event.preventDefault();
  }

  // The nearest product in a direction; straight ahead counts for more than aside.
  step([right, down]) {
    const [x, y] = this.chosen ? this.at(this.chosen.place) : this.half;
    let best = null, cost = Infinity;
    for (const point of this.all) {
      const [left, top] = this.at(point.place);
      const ahead = (left - x) * right + (top - y) * down, aside = Math.abs((left - x) * down) + Math.abs((top - y) * right);
      if (ahead > 0.5 && ahead + 2 * aside < cost) [best, cost] = [point, ahead + 2 * aside];
    }
    if (!best) return;
    const [left, top] = this.at(best.place), [width, height] = this.half;
    if (left < 0 || top < 0 || left > 2 * width || top > 2 * height) this.centre = [...best.place];
    this.select(best);
  }

  zoom(factor, [x, y] = this.half) {
    const [width, height] = this.half, before = this.unit;
    this.scale = Math.min(Math.max(this.scale * factor, 1), CLOSEST);
    // What is under the pointer stays there.
    const change = 1 / before - 1 / this.unit;
    this.centre = [this.centre[0] + (x - width) * change, this.centre[1] - (y - height) * change];
    this.draw();
  }

  move(right, down) {
    this.centre = [this.centre[0] - right / this.unit, this.centre[1] + down / this.unit].map((part) => Math.min(Math.max(part, -1), 1));
    this.draw();
  }

  select(point) {
    if (!point || point === this.chosen) return;
    this.chosen = point;
    this.choose(point);
    this.draw();
  }

  // ---- drawing

  draw() {
    const { clientWidth: width, clientHeight: height } = this.node, ratio = devicePixelRatio || 1;
    if (!width) return;
    this.node.width = width * ratio;
    this.node.height = height * ratio;
    const brush = this.node.getContext("2d"), style = getComputedStyle(this.node);
    const colour = (name) => style.getPropertyValue(name).trim();
    const colours = [...Array(10).keys()].map((place) => colour(`--category-${place}`));
    brush.scale(ratio, ratio);
    const radius = RADIUS * Math.sqrt(this.scale) * (this.marks.length ? 0.8 : 1);
    brush.globalAlpha = this.marks.length ? 0.45 : 0.85;
    for (const point of this.points) this.dot(brush, point, radius, colours[point.colour] ?? colour("--category-other"));
    brush.globalAlpha = 1;
    const ink = colour("--ink"), paper = colour("--surface");
    for (const mark of this.marks) {
      if (mark.kind === "event" || mark.kind === "near") this.ring(brush, mark, 4 + 22 * (mark.size ?? 0.1), ink);
    }
    for (const mark of this.marks) {
      if (mark.kind === "item" || mark.kind === "product") this.diamond(brush, mark, 7, colour("--mark"), paper);
    }
    if (this.chosen) this.ring(brush, this.chosen, 10, colour("--accent"), 3);
  }

  dot(brush, point, radius, colour) {
    brush.fillStyle = colour;
    brush.beginPath();
    brush.arc(...this.at(point.place), radius, 0, 2 * Math.PI);
    brush.fill();
  }

  ring(brush, point, radius, colour, width = 1.5) {
    brush.strokeStyle = colour;
    brush.lineWidth = width;
    brush.beginPath();
    brush.arc(...this.at(point.place), radius, 0, 2 * Math.PI);
    brush.stroke();
  }

  diamond(brush, point, size, colour, edge) {
    const [x, y] = this.at(point.place);
    brush.beginPath();
    brush.moveTo(x, y - size);
    brush.lineTo(x + size, y);
    brush.lineTo(x, y + size);
    brush.lineTo(x - size, y);
    brush.closePath();
    brush.fillStyle = colour;
    brush.fill();
    brush.strokeStyle = edge;
    brush.lineWidth = 1.5;
    brush.stroke();
  }
}
