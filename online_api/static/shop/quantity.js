// A field for a number of pieces, with a button on either side.
import { h } from "./dom.js";
import { number, text } from "./language.js";

const MOST = 99;

// The buttons go down to `least`; `changed` gets the new number.
export function quantityField({ value, label, least, changed = () => {} }) {
  const shown = h("span", { class: "quantity-number", "aria-live": "polite" });
  const fewer = h("button", { type: "button", "aria-label": `${text("fewer")}: ${label}`, click: () => set(value - 1) }, "−");
  const more = h("button", { type: "button", "aria-label": `${text("more")}: ${label}`, click: () => set(value + 1) }, "+");

  function set(next) {
    value = Math.max(least, Math.min(MOST, next));
    draw();
    changed(value);
  }

  function draw() {
    shown.textContent = number(value);
    fewer.disabled = value <= least;
    more.disabled = value >= MOST;
  }

  draw();
  return { node: h("div", { class: "quantity", role: "group", "aria-label": label }, fewer, shown, more), value: () => value };
}
