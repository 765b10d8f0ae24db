// A search: how the query is read and compared, and the parts of each score.

import * as api from "./api.js";
import { badge, bar, card, element, foreign, lookupForm, number, numeric, productCell, row, table, whole } from "./dom.js";

export async function searchView(parameters, go) {
  const query = parameters.get("search") ?? "";
  const body = query ? await api.search(query) : null;
  const form = lookupForm({ label: "Query", value: query, go: (text) => go({ search: text }), placeholder: "in Arabic or English" });
  if (!body) return [form, element("p", { class: "hint" }, "Enter a query to see in which form it is compared and why each product is found.")];
  document.dispatchEvent(new CustomEvent("release", { detail: body.release }));
  return [form, readingCard(body), resultsCard(body)];
}

function verdict(body) {
  if (body.no_match) return badge("no match: buyers see popular products", "bad");
  return body.weak ? badge("weak: no product contains any of its words", "warm") : badge(`${whole(body.matching)} products match`, "good");
}

function readingCard(body) {
  const rows = body.texts.map((text) => row({},
    element("td", {}, foreign(text.text), text.is_synonym && badge("synonym", "warm")),
    element("td", {}, foreign(text.spelled)),
    element("td", {}, element("code", {}, text.consonants || "–")),
    element("td", {}, text.known_words.length ? text.known_words.map((word) => element("span", { class: "badge good" }, foreign(word))) : "none"),
    numeric(number(text.alikeness_limit, 2))));
  return card("How the query is read",
    element("p", { class: "facts" }, verdict(body), " ",
      body.correction && ["Did you mean ", element("a", { href: `#search=${encodeURIComponent(body.correction)}` }, foreign(body.correction)), "? "],
      body.degraded.length ? badge("by spelling alone: the text encoder is loading or missing; try again in a few seconds", "warm") : ""),
    table("How the query is read", ["Typed", "Compared as", "Consonants", "Words that products have", { text: "Alike from", class: "number" }], rows),
    element("p", { class: "hint" }, limits(body)));
}

function limits({ limits: { mean_cosine: mean, cosine, min_above_mean: above } }) {
  const spelling = "A product matches by spelling if it is at least as alike as “Alike from” says";
  if (cosine === null) return `${spelling}.`;
  return `${spelling}, and by meaning if it is among the nearest and its cosine is at least ${number(cosine, 3)} (the mean of all products is ${number(mean, 3)}; the limit is at least ${number(above, 2)} above it).`;
}

function resultsCard(body) {
  const { meaning: weight } = body.weights, { mean_cosine: mean, cosine } = body.limits;
  const hasMeaning = cosine !== null;
  // All cosines of a text encoder are high: what is above the mean says something.
  const highest = Math.max(...body.items.map((item) => (item.cosine ?? 0) - mean), 1e-9);
  const heads = [{ text: "#", class: "number" }, "Product", { text: "Score", class: "number" }, ...(hasMeaning ? ["Meaning (cosine above the mean)"] : []), "Letters", "Consonants", "Alike", "Matches by"];
  return card("Best products",
    element("p", { class: "hint" }, `score = ${hasMeaning ? `${weight} × cosine + ` : ""}letters + consonants${body.texts.length > 1 ? `; those of a synonym × ${body.weights.synonym}` : ""}. Hidden products are left out; rules and diversity are not applied.`),
    table("Best products", heads, body.items.map((item) => row({ class: item.matches_by.length ? "" : "left-out" },
      numeric(item.rank),
      productCell(item),
      numeric(number(item.score, 2)),
      ...(hasMeaning ? [bar(number(item.cosine), (item.cosine - mean) / highest, "similarity")] : []),
      bar(number(item.letters, 2), item.letters, "words"),
      bar(number(item.consonants, 2), item.consonants, "words"),
      numeric(number(item.alikeness, 2)),
      element("td", {}, item.matches_by.length ? item.matches_by.map((way) => badge(way, "good")) : badge("no match"), item.by_text > 0 && badge(["as ", foreign(body.texts[item.by_text].text)], "warm"))))));
}
