// Results of a search, and the products of a category or of one of the shop's lists: a grid with filters.
import { search, shopList } from "./api.js";
import { card } from "./card.js";
import { brandName, categoryName } from "./demo_names.js";
import { h } from "./dom.js";
import { isolated, number, price, text } from "./language.js";
import { failed } from "./notices.js";
import { resultsPath } from "./paths.js";
import { add, emptyRow, fillRecommended } from "./rows.js";

const PAGE_LENGTH = 24;
const FACET_LENGTH = 8; // entries before "more"
const LIST_TITLES = { trending: "trending", new: "new_arrivals", "on-sale": "on_sale" };

export async function results({ page, id, conditions }) {
  const list = page === "list" ? id : undefined;
  if (!list && !conditions.q) return results({ page: "list", id: "trending", conditions });
  const parameters = { ...conditions, k: PAGE_LENGTH };
  // Within a category or brand, popular products follow those in demand; else a list has nothing but its own.
  const fill = list === "trending" && conditions.category.length + conditions.brand.length > 0;
  const load = (more) => (list ? shopList(list, { facets: true, fill, ...parameters, ...more }) : search({ ...parameters, ...more }));
  const found = await load({});
  const title = titleOf(list, conditions);
  const count = found.search ? found.search.matching : found.matching;
  const recommended = emptyRow("recommended");
  const body = h("div", { class: "results" },
    filters(found.facets, { list, ...conditions }),
    h("div", { class: "found" }, notices(found, conditions), grid(found, load)));
  const heading = h("div", { class: "results-heading" },
    h("h1", { id: "heading", tabindex: "-1", "aria-describedby": "count" }, title),
    h("p", { id: "count", class: "count" }, text("results", { count })));
  return { title, content: [heading, body, recommended], load: () => [fillRecommended(recommended)] };
}

function titleOf(list, { q, category }) {
  if (!list) return text("results_for", { q: isolated(q) });
  if (list === "trending" && category.length === 1) return categoryName(category[0]);
  return text(LIST_TITLES[list]);
}

function notices({ search: facts, items, degraded }, conditions) {
  const correction = facts?.did_you_mean;
  return [
    correction && h("p", { class: "notice" }, text("did_you_mean"), " ",
      h("a", { href: resultsPath({ ...conditions, q: correction }) }, h("bdi", {}, correction))),
    facts?.no_match && h("p", { class: "notice" }, text("no_match")),
    !facts?.no_match && !items.length && h("p", { class: "notice" }, text("nothing_here")),
    ...degraded.map((part) => h("p", { class: "notice" }, text(`degraded_${part}`))),
  ].filter(Boolean);
}

function grid(found, load) {
  // What follows the matches of a search is less and less like the query.
  const most = found.search && !found.search.no_match ? found.search.matching : Infinity;
  const cards = h("ul", { class: "cards grid" });
  const more = h("button", { type: "button", class: "show-more" }, text("show_more"));
  let next = null;

  function show(list) {
    const fresh = list.items.slice(0, most - cards.children.length).map((item) => card(item, { listSource: found.source, add }));
    cards.append(...fresh);
    next = list.next;
    more.hidden = next === null || cards.children.length >= most || !fresh.length;
    return fresh[0];
  }

  more.addEventListener("click", async () => {
    more.disabled = true;
    try {
      show(await load({ page: next, facets: false }))?.querySelector("a").focus();
    } catch (error) {
      failed(error);
    }
    more.disabled = false;
  });
  show(found);
  return [cards, more];
}

// ---- Filters

// Links, so that each choice has an address of its own.
function filters(facets, chosen) {
  if (!facets) return "";
  const turned = { ...chosen, in_stock: chosen.in_stock ? undefined : "true" };
  const sections = [
    names("category", facets.categories, categoryName, chosen),
    names("brand", facets.brands, brandName, chosen),
    prices(facets.prices, chosen),
    facet(text("availability"), [choice(text("in_stock_only"), null, chosen.in_stock === "true", turned)]),
  ];
  const any = chosen.category.length + chosen.brand.length > 0 || chosen.min_price || chosen.in_stock;
  const all = any && h("a", { class: "clear", href: resultsPath({ list: chosen.list, q: chosen.q }) }, text("clear_filters"));
  const panel = h("details", { class: "filters" }, h("summary", {}, text("filters")), all, sections);
  panel.open = matchMedia("(min-width: 60rem)").matches;
  return panel;
}

function names(key, entries, nameOf, chosen) {
  const choices = entries.map(({ value, count, selected }) => {
    const others = chosen[key].filter((one) => one !== value);
    return choice(nameOf(value), count, selected, { ...chosen, [key]: selected ? others : [...others, value] });
  });
  return facet(text(key), choices);
}

function prices(ranges, chosen) {
  const choices = ranges.map(({ currency, min_price: low, max_price: high, count }) => {
    const selected = Number(chosen.min_price) === low && Number(chosen.max_price) === high;
    const range = { min_price: String(low), max_price: String(high), currency };
    const all = { min_price: undefined, max_price: undefined, currency: undefined };
    const name = `${isolated(price(low, currency))} – ${isolated(price(high, currency))}`;
    return choice(name, count, selected, { ...chosen, ...(selected ? all : range) });
  });
  return facet(text("price"), choices);
}

function choice(name, count, selected, path) {
  return h("li", {}, h("a", { class: "choice", href: resultsPath(path), "aria-current": selected && "true" },
    h("bdi", {}, name), count !== null && h("span", { class: "count" }, h("span", { class: "unseen" }, " "), number(count))));
}

function facet(title, choices) {
  if (!choices.length) return "";
  const more = choices.slice(FACET_LENGTH);
  return h("section", { class: "facet" }, h("h2", {}, title), h("ul", {}, choices.slice(0, FACET_LENGTH)),
    more.length ? h("details", {}, h("summary", {}, text("more_choices")), h("ul", {}, more)) : "");
}
