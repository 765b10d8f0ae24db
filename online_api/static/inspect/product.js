// A product: its values, its popularity, what its vector rests on, and the nearest products.

import * as api from "./api.js";
import { comparisonCard, releaseChoice } from "./comparison.js";
import { badge, bar, card, element, foreign, legend, lookupForm, number, numeric, percent, productCell, row, stacked, table, whole } from "./dom.js";

const PARTS = [
  ["learned", "learned from text, brand, category and price"],
  ["text", "its text as it is"],
  ["identity", "its own events (id embedding)"],
  ["borrowed", "borrowed from products with events"],
];
const VALUES = [["price", "Price"], ["regular_price", "Price before the reduction"], ["currency", "Currency"], ["stock", "Stock"], ["hidden", "Hidden"]];

export async function productView(parameters, go) {
  const productId = parameters.get("product") ?? "", release = parameters.get("release");
  const [body, releases, comparison] = await Promise.all([
    productId ? api.product(productId).catch(unknown) : null,
    releaseChoice(release, go),
    productId && release ? comparisonCard(api.compareProduct(productId, release)) : null,
  ]);
  const form = lookupForm({ label: "Product id", value: productId, go: (text) => go({ product: text }), more: [releases] });
  if (body instanceof api.ApiError) return [form, element("p", { class: "hint" }, body.message)];
  if (!body) return [form, element("p", { class: "hint" }, "Enter a product id to see what the model knows of the product and which products it treats as similar.")];
  document.dispatchEvent(new CustomEvent("release", { detail: body.release }));
  return [form, heading(body), element("div", { class: "columns" }, vectorCard(body), valuesCard(body)), comparison, nearestCard(body)].filter(Boolean);
}

// A product that the live release does not have: the form stays, for another id.
function unknown(error) {
  if (!(error instanceof api.ApiError) || error.status !== 404) throw error;
  return error;
}

function heading(body) {
  const others = Object.entries(body.titles).filter(([, title]) => title !== body.title);
  return element("div", { class: "heading" },
    element("h2", { class: "title" }, foreign(body.title)),
    others.map(([language, title]) => element("p", { class: "soft", lang: language }, foreign(title))),
    element("p", { class: "facts" },
      element("code", {}, body.product_id), " ", body.brand && [foreign(body.brand), " · "], body.category && foreign(body.category), " ",
      body.hidden && badge("hidden", "warm"), " ",
      element("a", { href: `#map&product=${encodeURIComponent(body.product_id)}` }, "Show on the map")));
}

function vectorCard(body) {
  const parts = PARTS.map(([kind, text]) => ({ kind, text, value: body.vector_parts[kind] })).filter(({ value }) => Math.abs(value) >= 0.0005);
  const sum = parts.reduce((total, { value }) => total + Math.max(value, 0), 0);
  return card("What its vector rests on",
    stacked(parts, sum),
    legend(parts.map(({ kind, text, value }) => [kind, `${percent(value, 0)} ${text}`])),
    element("p", { class: "hint" }, body.has_identity
      ? "Training has seen events of this product."
      : "Training has seen no event of this product, so it has no id embedding."),
    element("dl", {},
      element("dt", {}, "Popularity"), element("dd", {}, `rank ${whole(body.popularity.rank)}`),
      element("dt", {}, "Popularity term"), element("dd", {}, `${number(body.popularity.term)}; in lists of new products ${number(body.popularity.term_new_only)}`)));
}

function valuesCard(body) {
  const text = (value) => (value === null || value === undefined ? "–" : value === true ? "yes" : value === false ? "no" : String(value));
  const rows = VALUES.map(([name, label]) => {
    const released = text(body.released[name]), stored = body.stored === null ? "–" : text(body.stored[name]);
    return row({}, label, numeric(released), numeric(stored === released || body.stored === null ? stored : badge(stored, "warm")));
  });
  return card("Values",
    table("Values", ["Value", { text: "In the release", class: "number" }, { text: "In the feature store", class: "number" }], rows),
    element("p", { class: "hint" }, body.stored === null ? "The feature store does not have this product, or is down." : "Lists use those of the feature store; where they differ, they are marked."));
}

function nearestCard(body) {
  return card("Nearest products",
    element("p", { class: "hint" }, "By the cosine of the product vectors, as the index finds them."),
    table("Nearest products", [{ text: "#", class: "number" }, "Product", "Cosine"],
      body.nearest.map((one, place) => {
        const cell = productCell(one);
        if (one.hidden) cell.append(badge("hidden", "warm"));
        return row({}, numeric(place + 1), cell, bar(number(one.cosine), one.cosine, "similarity"));
      })));
}
