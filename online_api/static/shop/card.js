// The card of a product in a row or a grid.
import { h } from "./dom.js";
import { brandName, categoryName } from "./demo_names.js";
import { isolated, number, price, text } from "./language.js";
import { picture } from "./pictures.js";
import { productPath } from "./paths.js";

// moved: how many ranks it climbed since the last click; null if it is new; undefined if nothing is said about it.
// listSource: what the whole list is made from; a product that only fills it says so.
export function card(product, { moved, listSource, add }) {
  const name = product.title || product.product_id;
  const soldOut = product.stock === 0;
  const label = soldOut ? `${text("out_of_stock")}: ${name}` : text("add_named", { name });
  return h("li", { class: "card", "data-product": product.product_id },
    h("a", { class: "card-link", href: productPath(product.product_id) },
      h("span", { class: "tile" }, picture(product), badges(product, moved)),
      h("h3", { class: "title", dir: "auto" }, name)),
    h("p", { class: "brand" }, h("bdi", {}, brandName(product.brand) ?? categoryName(product.category) ?? "")),
    h("p", { class: "because" }, reason(product, listSource)),
    h("p", { class: "numbers" }, priceOf(product)),
    h("button", { type: "button", class: "add", "aria-label": label, disabled: soldOut, click: () => add(product) },
      text(soldOut ? "out_of_stock" : "add_to_cart")));
}

export function priceOf({ price: amount, regular_price: regular, currency }) {
  if (amount === null) return h("span", { class: "price unknown" }, text("price_unknown"));
  const now = h("span", { class: "price" }, h("span", { class: "unseen" }, text("price"), " "), price(amount, currency));
  if (regular === null) return now;
  const label = h("span", { class: "unseen" }, text("regular_price"), " ");
  return [now, h("s", { class: "regular" }, label, price(regular, currency))];
}

function badges(product, moved) {
  const cut = reduction(product);
  return h("span", { class: "badges" },
    moved === undefined || moved === 0 ? null : mark(moved),
    cut > 0 ? h("span", { class: "sale" }, `\u2066−${number(cut)}${text("percent")}\u2069`) : null);
}

// In percent, 0 without one.
export function reduction({ price: amount, regular_price: regular }) {
  return amount === null || regular === null ? 0 : Math.round((1 - amount / regular) * 100);
}

function mark(climbed) {
  if (climbed === null) return h("span", { class: "mark new" }, text("mark_new"));
  const places = Math.abs(climbed);
  const label = text(climbed > 0 ? "moved_up" : "moved_down", { places });
  // A screen reader then reads the label instead of the arrow.
  return h("span", { class: "mark", role: "img", "aria-label": label }, `${climbed > 0 ? "↑" : "↓"}${number(places)}`);
}

// Why the product is there.
function reason({ score_parts: { repeat, ...others }, because, source }, listSource) {
  // If the repeat term is the largest part, the buyer's own events say more than other products do.
  if (repeat > Math.max(...Object.values(others))) return text("chosen_before");
  return becauseOf(because) || (source === listSource ? "" : text(`source_${source}`));
}

// The API names up to two events; events with the same product are shown once.
function becauseOf(reasons) {
  const each = reasons.filter((one, place) => place === reasons.findIndex((other) => other.product_id === one.product_id));
  // Products that the request named, such as the cart, are no events.
  const kind = each[0]?.event_type === null ? "goes_with" : "because";
  const [first, second] = each.map(({ title, product_id: id, event_type: type }) =>
    type === null ? isolated(title || id) : text(`act_${type}`, { title: isolated(title || id) }));
  if (!first) return "";
  return second ? text(`${kind}_two`, { first, second }) : text(`${kind}_one`, { first });
}
