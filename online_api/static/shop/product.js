// The page of a product. Opening it is a view, which the recommended row below shows at once.
import { boughtTogether, product as fetchProduct, similar } from "./api.js";
import { addToCart } from "./cart_content.js";
import { priceOf, reduction } from "./card.js";
import { brandName, categoryName } from "./demo_names.js";
import { h } from "./dom.js";
import { isolated, number, text } from "./language.js";
import { homePath, resultsPath } from "./paths.js";
import { picture } from "./pictures.js";
import { quantityField } from "./quantity.js";
import { ROW_LENGTH, act, emptyRow, fillRecommended, fillRow } from "./rows.js";

export async function productPage({ id }) {
  const product = await fetchProduct(id);
  const name = product.title || id;
  const rows = ["together", "similar", "recommended"].map(emptyRow);
  const [together, alike, recommended] = rows;
  const k = { k: ROW_LENGTH };
  const load = () => [
    fillRecommended(recommended).then(() => act([event(id, "view")], text("did_view", { title: isolated(name) }))),
    fillRow(together, { title: text("together"), load: () => boughtTogether(id, k) }),
    fillRow(alike, { title: text("similar"), load: () => similar(id, k) }),
  ];
  return { title: name, content: [trail(product), details(product, name), ...rows], load };
}

const event = (id, type) => ({ product_id: id, event_type: type });

function trail({ category }) {
  const step = (href, words) => h("li", {}, h("a", { href }, h("bdi", {}, words)));
  const here = category && step(resultsPath({ list: "trending", category }), categoryName(category));
  return h("nav", { class: "trail", "aria-label": text("trail") }, h("ol", {}, step(homePath, text("home")), here));
}

function details(product, name) {
  const quantity = quantityField({ value: 1, label: name, least: 1 });
  const add = () => {
    addToCart(product, quantity.value());
    const added = { ...event(product.product_id, "add_to_cart"), quantity: quantity.value() };
    act([added], text("did_add_to_cart", { title: isolated(name) }));
  };
  const cut = reduction(product);
  const save = cut > 0 && text("save", { percent: `${number(cut)}${text("percent")}` });
  const soldOut = product.stock === 0;
  return h("article", { class: "product" },
    h("div", { class: "tile large" }, picture(product)),
    h("div", { class: "product-facts" },
      h("h1", { id: "heading", tabindex: "-1", dir: "auto" }, name),
      h("p", { class: "brand" }, h("bdi", {}, brandName(product.brand) ?? "")),
      h("p", { class: "numbers" }, priceOf(product), save && h("span", { class: "sale" }, save)),
      h("p", { class: "stock", "data-stock": soldOut ? "none" : "some" }, stockOf(product)),
      h("div", { class: "buy" }, quantity.node,
        h("button", { type: "button", class: "primary", id: "add", disabled: soldOut, click: add }, text("add_to_cart"))),
      about(product)));
}

function about({ product_id: id, category, brand, description }) {
  const facts = [["category", categoryName(category)], ["brand", brandName(brand)], ["product_number", id]];
  const known = facts.filter(([, value]) => value);
  return h("div", { class: "description" }, h("h2", {}, text("about")),
    h("dl", {}, known.flatMap(([key, value]) => [h("dt", {}, text(key)), h("dd", {}, h("bdi", {}, value))])),
    description && h("p", { dir: "auto" }, description));
}

function stockOf({ stock }) {
  if (stock === null) return text("in_stock");
  return stock === 0 ? text("out_of_stock") : text("stock_left", { stock });
}
