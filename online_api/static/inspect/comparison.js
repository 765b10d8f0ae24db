// The lists of two releases side by side, and the choice of the other one.

import * as api from "./api.js";
import { badge, card, choice, element, numeric, number, percent, productCell, row, table } from "./dom.js";

const NONE = "";

// A choice of the releases on disk that do not answer now.
export async function releaseChoice(selected, go) {
  const others = (await api.releases()).filter((release) => !release.serving).reverse();
  if (!others.length) return null;
  const options = others.map(({ name, created }) => [name, `${name} (${created.slice(0, 10)})`]);
  return choice("Compare with release", selected ?? NONE, [[NONE, "none"], ...options], (name) => go({ release: name || null }));
}

// The card of a comparison under way; if that release is gone or cannot be loaded, the card says so.
export async function comparisonCard(comparison) {
  try {
    return sideBySide(await comparison);
  } catch (error) {
    if (!(error instanceof api.ApiError) || ![404, 409].includes(error.status)) throw error;
    return card("Two releases side by side", element("p", { class: "hint" }, error.message));
  }
}

function sideBySide(comparison) {
  const { live, other, n_common: common, rows } = comparison;
  const largest = Math.max(rows.filter((one) => one.live_rank).length, rows.filter((one) => one.other_rank).length);
  return card("Two releases side by side",
    element("p", { class: "facts" },
      element("strong", {}, `${common} of ${largest} products in common`), ` (overlap ${percent(comparison.overlap, 0)}, with more weight on the first ranks ${percent(comparison.rank_biased_overlap, 0)}). `,
      `Both lists are made from the same stored events and rules, and where both releases have the same products, with the present prices and stock.`),
    table("Two releases side by side",
      ["Product", { text: "Live", class: "number" }, { text: "Other", class: "number" }, "Moved", { text: "Score, live", class: "number" }, { text: "Score, other", class: "number" }],
      rows.map((one) => row({}, productCell(one), numeric(one.live_rank ?? "–"), numeric(one.other_rank ?? "–"), moved(one), score(one.live_score), score(one.other_score)))),
    element("p", { class: "hint" }, `Live: ${live.release}, other: ${other.release}. Scores of different models are not comparable.`));
}

function moved({ live_rank: live, other_rank: other }) {
  if (live === null) return badge("only in the other", "good");
  if (other === null) return badge("only in the live one", "warm");
  if (live === other) return element("span", { class: "soft" }, "same");
  return live > other ? badge(`▲ ${live - other} up`, "good") : badge(`▼ ${other - live} down`, "warm");
}

const score = (value) => numeric(value === null ? "–" : number(value));
