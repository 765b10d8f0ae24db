// The home page: categories, and a row for each list that exists.
import { buyAgain, recentlyViewed, shopList } from "./api.js";
import { categoryName } from "./demo_names.js";
import { h } from "./dom.js";
import { text } from "./language.js";
import { listPath, resultsPath } from "./paths.js";
import { picture } from "./pictures.js";
import { ROW_LENGTH, emptyRow, fillRecommended, fillRow } from "./rows.js";

const CATEGORIES = 8; // one line
const SHOP_LISTS = [["trending", "trending"], ["new", "new_arrivals"], ["on-sale", "on_sale"]];

export function home() {
  const categories = h("nav", { class: "categories", "aria-label": text("categories"), hidden: true });
  const names = ["recommended", "again", "recent", ...SHOP_LISTS.map(([name]) => name)];
  const row = Object.fromEntries(names.map((name) => [name, emptyRow(name)]));
  const hero = h("div", { class: "hero" },
    h("div", {}, h("h1", { id: "heading", tabindex: "-1" }, text("welcome")), h("p", {}, text("welcome_more"))),
    h("div", { class: "hero-pictures" }, ["apple", "milk", "bread"].map((name) => picture({ picture: name }))));
  const k = { k: ROW_LENGTH };
  const load = () => [
    fillRecommended(row.recommended),
    fillCategories(categories),
    fillRow(row.again, { title: text("again"), load: () => buyAgain(k) }),
    fillRow(row.recent, { title: text("recent"), load: () => recentlyViewed(k) }),
    ...SHOP_LISTS.map(([name, title]) =>
      fillRow(row[name], { title: text(title), more: listPath(name), load: () => shopList(name, { fill: false, ...k }) })),
  ];
  return { title: text("name"), content: [hero, categories, ...Object.values(row)], load };
}

// Those with the most products of what is in demand.
async function fillCategories(place) {
  const { facets } = await shopList("trending", { k: 1, facets: true });
  const tiles = facets.categories.slice(0, CATEGORIES).map(({ value }) =>
    h("li", {}, h("a", { href: resultsPath({ list: "trending", category: value }) },
      picture({ category: value, product_id: value }), h("bdi", {}, categoryName(value)))));
  place.hidden = tiles.length === 0;
  place.replaceChildren(h("ul", {}, tiles));
}
