// The cart, what goes with it, and the check-out.
import { cartSuggestions, product as fetchProduct, shopList, buyAgain } from "./api.js";
import { cartCount, cartLines, cartProductIds, cartTotals, emptyCart, orderNumber, setQuantity } from "./cart_content.js";
import { brandName } from "./demo_names.js";
import { element, h } from "./dom.js";
import { isolated, number, price, text } from "./language.js";
import { failed } from "./notices.js";
import { cartPath, checkoutPath, homePath, productPath, thanksPath } from "./paths.js";
import { picture } from "./pictures.js";
import { quantityField } from "./quantity.js";
import { ROW_LENGTH, act, emptyRow, fillRecommended, fillRow } from "./rows.js";

export async function cart() {
  await refreshLines();
  const rows = ["cross", "recommended"].map(emptyRow);
  const list = h("div", { class: "cart" });
  const contents = () => (cartLines().length ? [cartList(removed), summary(checkout())] : [emptyNotice()]);
  const draw = () => list.replaceChildren(...contents());
  const drawAll = () => {
    draw();
    fillCross(rows[0]).catch(failed);
  };
  // The focus would be lost with the line that a button removed.
  const removed = () => {
    drawAll();
    element("heading").focus();
  };
  // A product that a row below added is a line more; a line's own buttons draw what they change.
  const cartChanged = () => (list.contains(document.activeElement) ? null : drawAll());
  draw();
  const load = () => [fillCross(rows[0]), fillRecommended(rows[1])];
  return { title: text("cart"), content: [heading(text("cart")), list, ...rows], load, cartChanged };
}

// Titles in the language of the page, and prices as of now.
async function refreshLines() {
  await Promise.all(cartLines().map(async ({ product, quantity }) => {
    const orNull = (error) => (error.status === 404 ? null : Promise.reject(error));
    const now = await fetchProduct(product.product_id).catch(orNull);
    setQuantity(now ?? product, now ? quantity : 0); // the shop no longer has it
  }));
}

function fillCross(row) {
  const ids = cartProductIds();
  const load = () => (ids.length ? cartSuggestions(ids, ROW_LENGTH) : shopList("trending", { k: ROW_LENGTH }));
  return fillRow(row, { title: text(ids.length ? "cross" : "trending"), load });
}

function cartList(removed) {
  return h("ul", { class: "lines", "aria-label": text("cart") }, cartLines().map((line) => cartLine(line, removed)));
}

function cartLine({ product, quantity }, removed) {
  const name = product.title || product.product_id;
  const sum = h("span", { class: "price" });
  const drawSum = (pieces) => {
    const amount = product.price;
    sum.textContent = amount === null ? text("price_unknown") : price(amount * pieces, product.currency);
  };
  const field = quantityField({
    value: quantity, label: name, least: 1,
    changed: (pieces) => {
      setQuantity(product, pieces);
      drawSum(pieces);
      drawTotals();
    },
  });
  const remove = () => {
    setQuantity(product, 0);
    removed();
  };
  drawSum(quantity);
  return h("li", { class: "line", "data-product": product.product_id },
    h("span", { class: "tile small" }, picture(product)),
    h("div", { class: "line-name" }, h("a", { href: productPath(product.product_id), dir: "auto" }, name),
      h("p", { class: "brand" }, h("bdi", {}, brandName(product.brand) ?? ""))),
    field.node, sum,
    h("button", { type: "button", class: "quiet", "aria-label": `${text("remove")}: ${name}`, click: remove }, text("remove")));
}

function summary(button) {
  return h("aside", { class: "summary", "aria-labelledby": "summary" },
    h("h2", { id: "summary" }, text("summary")), h("dl", {}, totals()), button);
}

function totals() {
  const sums = cartTotals();
  const amounts = sums === null ? [text("price_unknown")] : [...sums].map(([currency, sum]) => price(sum, currency));
  return [h("dt", {}, text("pieces")), h("dd", {}, number(cartCount())),
    h("dt", {}, text("total")), h("dd", { class: "total" }, amounts.join(" + "))];
}

function drawTotals() {
  document.querySelector(".summary dl").replaceChildren(...totals());
}

const checkout = () => h("a", { class: "button primary", id: "checkout", href: checkoutPath }, text("checkout"));
const goShopping = () => h("a", { class: "button primary", href: homePath }, text("go_shopping"));
const heading = (words) => h("h1", { id: "heading", tabindex: "-1" }, words);

function emptyNotice() {
  return h("div", { class: "nothing" }, picture({ picture: "basket" }), h("p", {}, text("cart_empty")), goShopping());
}

// ---- Check-out

export async function checkoutPage() {
  await refreshLines();
  if (!cartLines().length) return cart();
  const lines = cartLines().map(({ product, quantity }) =>
    h("li", {}, h("bdi", {}, product.title || product.product_id), h("span", { class: "pieces" }, `× ${number(quantity)}`)));
  const place = () => order(button);
  const button = h("button", { type: "button", class: "primary", id: "order", click: place }, text("place_order"));
  const content = h("div", { class: "cart" },
    h("div", { class: "order" }, h("p", { class: "notice" }, text("checkout_note")), h("ul", {}, lines),
      h("a", { href: cartPath }, text("back_to_cart"))),
    summary(button));
  const recommended = emptyRow("recommended");
  const load = () => [fillRecommended(recommended)];
  return { title: text("checkout"), content: [heading(text("checkout")), content, recommended], load };
}

// One purchase per line, each with an id, so that the same order sent twice counts once.
async function order(button) {
  button.disabled = true;
  const name = orderNumber();
  const bought = cartLines();
  const events = bought.map(({ product, quantity }) => (
    { event_id: `order-${name}-${product.product_id}`, product_id: product.product_id, event_type: "purchase", quantity }));
  const titles = bought.map(({ product }) => isolated(product.title || product.product_id)).join(text("comma"));
  const done = await act(events, text("did_purchase", { title: titles }));
  button.disabled = false;
  if (!done) return;
  emptyCart();
  location.hash = thanksPath(name);
}

export function thanks({ id }) {
  const rows = ["recommended", "again"].map(emptyRow);
  const number = h("p", {}, text("order_number"), " ", h("bdi", { class: "order-number" }, id));
  const content = h("div", { class: "thanks" }, heading(text("thanks")), number, h("p", {}, text("thanks_more")), goShopping());
  const again = { title: text("again"), load: () => buyAgain({ k: ROW_LENGTH }) };
  const load = () => [fillRecommended(rows[0]), fillRow(rows[1], again)];
  return { title: text("thanks"), content: [content, ...rows], load };
}
