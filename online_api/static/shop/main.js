// The demo shop: shows the page that the address names, each made of lists of the API.
import { enter } from "./api.js";
import { cart, checkoutPage, thanks } from "./cart.js";
import { cartCount, onCartChange } from "./cart_content.js";
import { element, h } from "./dom.js";
import { home } from "./home.js";
import { applyLanguage, language, languageName, number, otherLanguage, setLanguage, text } from "./language.js";
import { clearError, failed, onRetry } from "./notices.js";
import { currentPath, homePath } from "./paths.js";
import { productPage } from "./product.js";
import { results } from "./results.js";
import { forgetRecommended } from "./rows.js";
import { anyBuyer, buyer } from "./session.js";
import { setUpSearch, showQuery } from "./suggest.js";

const PAGES = new Map(Object.entries(
  { "": home, search: results, list: results, product: productPage, cart, checkout: checkoutPage, thanks }));
const main = element("main");
let turn = 0; // counts page changes: what belongs to an older page is dropped
let shown = null; // the page

// focus: whether the heading takes it, as it should after a page change.
async function show({ focus = true } = {}) {
  const mine = ++turn;
  const path = currentPath();
  shown = null;
  clearError();
  main.ariaBusy = "true";
  showQuery(path.conditions.q);
  drawAround();
  try {
    const page = await (PAGES.get(path.page) ?? unknown)(path);
    if (mine !== turn) return;
    put(page, focus);
    await allOf(page.load());
  } catch (error) {
    if (mine !== turn) return;
    if (error.status === 404) put(unknown(), focus);
    else failed(error);
  }
  if (mine === turn) main.ariaBusy = "false";
}

function put(page, focus) {
  shown = page;
  document.title = page.title === text("name") ? page.title : `${page.title} · ${text("name")}`;
  main.replaceChildren(...page.content);
  scrollTo(0, 0);
  if (focus) element("heading").focus({ preventScroll: true });
}

// One failed row hides nothing of the others.
async function allOf(loading) {
  const done = await Promise.allSettled(loading);
  const failure = done.find(({ status }) => status === "rejected");
  if (failure) throw failure.reason;
}

function unknown() {
  const content = h("div", { class: "nothing" }, h("h1", { id: "heading", tabindex: "-1" }, text("unknown_page")),
    h("p", {}, text("unknown_page_more")), h("a", { class: "button primary", href: homePath }, text("go_shopping")));
  return { title: text("unknown_page"), content: [content], load: () => [] };
}

// What surrounds the page.
function drawAround() {
  applyLanguage();
  element("language").textContent = languageName(otherLanguage());
  element("language").lang = otherLanguage();
  element("cart-count").textContent = number(cartCount());
  element("cart-link").ariaLabel = text("cart_with", { count: cartCount() });
  element("buyer").value = buyer() ?? "";
  element("buyer-form").hidden = !anyBuyer();
}

async function start(options) {
  try {
    await enter(options);
  } catch (error) {
    drawAround();
    failed(error);
    return;
  }
  await show({ focus: false });
}

function changeBuyer(id) {
  history.replaceState(null, "", `${id ? `?${new URLSearchParams({ buyer: id })}` : location.pathname}${location.hash}`);
  forgetRecommended();
  start({ newGuest: id === null });
}

element("language").addEventListener("click", () => {
  setLanguage(otherLanguage());
  forgetRecommended();
  show({ focus: false });
});
element("buyer-form").addEventListener("submit", (submit) => {
  submit.preventDefault();
  changeBuyer(element("buyer").value.trim() || null);
});
element("new-guest").addEventListener("click", () => changeBuyer(null));
element("skip").addEventListener("click", (click) => {
  click.preventDefault(); // the address after # is the page's
  element("heading")?.focus();
});
addEventListener("hashchange", () => show());
onCartChange(() => {
  drawAround();
  shown?.cartChanged?.();
});
onRetry(() => start());
document.documentElement.lang = language();
setUpSearch();
start();
