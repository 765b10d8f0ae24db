// The map: a sample of the products, with a buyer's events and list, or one product with its neighbours, marked on it.

import * as api from "./api.js";
import { checkbox, element, foreign, legend, lookupForm, whole } from "./dom.js";
import { MapCanvas } from "./map_canvas.js";

const COLOURED = 10; // categories with a colour of their own; there are as many in inspect.css

export async function mapView(parameters, go) {
  const buyerId = parameters.get("buyer") ?? "", productId = parameters.get("product") ?? "";
  const form = lookupForm({ label: "Mark a buyer", value: buyerId, placeholder: "buyer id", go: (text) => go({ buyer: text, product: null }) });
  let body;
  try {
    body = await api.map();
  } catch (error) {
    if (error.status !== 404) throw error;
    return [element("p", { class: "card" }, "The live release has no map, because an older version made it. The next tawsiya refresh that makes a release adds one.")];
  }
  const marked = buyerId ? await marksOfBuyer(buyerId) : productId ? await marksOfProduct(productId) : { text: null, marks: [] };
  document.dispatchEvent(new CustomEvent("release", { detail: body.release }));
  const counts = new Map();
  for (const point of body.points) counts.set(point.category, (counts.get(point.category) ?? 0) + 1);
  counts.delete(null);
  const largest = [...counts].sort((one, other) => other[1] - one[1]).slice(0, COLOURED).map(([category]) => category);
  const others = body.points.filter((point) => !largest.includes(point.category)).length;
  const points = body.points.map((point) => ({ ...point, colour: largest.indexOf(point.category), name: body.categories[point.category] ?? null }));
  const chosen = element("p", { class: "chosen", role: "status" }, "Point at a product, or move to the map with Tab and use the arrow keys.");
  const canvas = new MapCanvas(points, marked.marks, (point) => describe(chosen, point), (point) => go({ map: null, buyer: null, product: point.product_id }));
  const colours = largest.map((category, place) => [`category-${place}`, element("span", {}, foreign(body.categories[category]), ` ${counts.get(category)}`)]);
  return [form, element("section", { class: "card map-card" },
    element("h2", {}, "Map of the products"),
    element("p", { class: "hint" }, `${whole(body.points.length)} of ${whole(body.n_products)} products, ${body.points.length < body.n_products ? "a sample with each category in its share. " : ""}Products near each other are similar to the model. Directions and large distances mean nothing.`),
    marked.text,
    element("div", { class: "map-layout" },
      element("div", { class: "map-frame" }, canvas.node, canvas.buttons()),
      element("div", { class: "map-side" }, chosen, element("h3", {}, "Largest categories, products on the map"), legend([...colours, ["category-other", `others ${whole(others)}`]]))))];
}

function describe(chosen, point) {
  const kinds = { event: "event: ", item: "recommended: ", product: "this product: ", near: "near: " };
  chosen.replaceChildren(kinds[point.kind] ?? "", element("a", { href: `#product=${encodeURIComponent(point.product_id)}` }, foreign(point.title)));
  if (point.name) chosen.append(" · ", foreign(point.name));
}

async function marksOfBuyer(buyerId) {
  const body = await api.buyer(buyerId, { k: 20 });
  const marks = [
    ...body.events.filter((event) => event.attention).map((event) => ({ ...event, kind: "event", size: Math.sqrt(event.attention), name: event.category })),
    ...body.items.map((item) => ({ ...item, kind: "item", name: item.category })),
  ].filter((mark) => mark.place);
  const text = element("p", { class: "facts" }, "Buyer ", element("a", { href: `#buyer=${encodeURIComponent(buyerId)}` }, foreign(buyerId)), ": ",
    element("span", { class: "mark event" }), " events, larger with more attention; ", element("span", { class: "mark item" }), " the list.");
  return { text, marks };
}

async function marksOfProduct(productId) {
  const body = await api.product(productId);
  const marks = [...body.nearest.map((near) => ({ ...near, kind: "near", name: near.category })), { ...body, kind: "product", name: body.category }].filter((mark) => mark.place);
  const text = element("p", { class: "facts" }, element("span", { class: "mark item" }), " ", element("a", { href: `#product=${encodeURIComponent(productId)}` }, foreign(body.title)), "; ",
    element("span", { class: "mark event" }), " the nearest products.");
  return { text, marks };
}
