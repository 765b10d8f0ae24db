// The storefront demo: shows a buyer's recommendations, sends events to the API, and shows what they change.
// Titles and ids are untrusted: they are set as textContent or attributes, never as markup.
import { ApiError, recommendations, recordEvent } from "./api.js";
import { TEXTS } from "./texts.js";
import { LANGUAGES, guest, newGuest, rememberLanguage, startLanguage } from "./visitor.js";

const K = 12;

const element = (id) => document.getElementById(id);

// The state of the page: render() draws it, the other functions change it.
const state = {
  language: startLanguage(),
  buyer: new URLSearchParams(location.search).get("buyer")?.trim() || guest(),
  items: [],
  source: null,
  degraded: [],
  release: null,
  ranks: null, // product id -> rank in the list before the last click; null without a click
  done: [], // {event, title, ms}, newest first; ms is missing until the new list is shown
  status: { key: "loading" }, // the key and the values of a text, so that the language can change
  error: null,
};
let turn = 0; // counts list requests: a response is dropped if there is a newer request

// ---- Texts

function text(key, values = {}) {
  return TEXTS[state.language][key].replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    return typeof value === "number" ? number(value, 0) : value;
  });
}

function number(value, digits) {
  return value.toLocaleString(state.language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function price({ price, currency }) {
  return currency === null ? number(price, 2) : price.toLocaleString(state.language, { style: "currency", currency });
}

// Isolates a text that may run in the other direction than its surroundings (U+2068 and U+2069 are Unicode isolates).
function isolated(title) {
  return `\u2068${title}\u2069`;
}

// ---- Actions

// Records the event of a click, if there is one, and reloads the list.
async function update(product, event) {
  const started = performance.now();
  const buyer = state.buyer;
  const mine = ++turn;
  state.error = null;
  element("products").ariaBusy = "true";
  try {
    const done = event && { event, title: product.title };
    if (done) {
      await recordEvent(buyer, product.product_id, event);
      if (buyer !== state.buyer) return;
      state.done.unshift(done);
    }
    const list = await recommendations(buyer, K, state.language);
    if (buyer !== state.buyer) return;
    if (mine === turn) {
      state.ranks = event ? new Map(state.items.map((item, rank) => [item.product_id, rank])) : null;
      const { items, source, degraded, release } = list;
      Object.assign(state, { items, source, degraded, release });
      renderProducts();
    }
    // Includes drawing the list. Rounded up, so that it is never 0 ms.
    const ms = Math.ceil(performance.now() - started);
    if (done) done.ms = ms;
    if (mine === turn) state.status = done ? { key: "updated", values: { ms, ...changes() } } : { key: "loaded", values: { ms } };
  } catch (error) {
    if (buyer !== state.buyer) return;
    if (!(error instanceof ApiError)) console.error(error);
    state.error = error.notice ?? { key: "failed", values: { detail: String(error) } };
    if (mine === turn) state.status = null;
  }
  if (mine === turn) element("products").ariaBusy = "false";
  renderAround();
}

function switchBuyer(buyer) {
  Object.assign(state, { buyer, items: [], source: null, degraded: [], release: null });
  Object.assign(state, { ranks: null, done: [], status: { key: "loading" } });
  history.replaceState(null, "", "?" + new URLSearchParams({ buyer }));
  update();
  render();
}

function switchLanguage() {
  state.language = otherLanguage();
  rememberLanguage(state.language);
  update(); // for titles in the language
  render();
}

function otherLanguage() {
  return state.language === "en" ? "ar" : "en";
}

// How many ranks a product moved up since the last click; null if it was not in the list.
function climbed(item, rank) {
  const before = state.ranks.get(item.product_id);
  return before === undefined ? null : before - rank;
}

function changes() {
  const moves = state.items.map(climbed);
  const fresh = moves.filter((move) => move === null).length;
  return { fresh, moved: moves.filter((move) => move !== 0).length - fresh };
}

// ---- Drawing

function render() {
  document.documentElement.lang = state.language;
  document.documentElement.dir = LANGUAGES[state.language].direction;
  for (const place of document.querySelectorAll("[data-text]")) place.textContent = text(place.dataset.text);
  element("language").textContent = LANGUAGES[otherLanguage()].name;
  element("language").lang = otherLanguage();
  element("buyer").value = state.buyer;
  renderProducts();
  renderAround();
}

// Everything but the product list.
function renderAround() {
  const { source, degraded, release, status, error, done } = state;
  element("source").hidden = element("release").hidden = source === null;
  element("source").dataset.source = source;
  element("source").textContent = source && text(`source_${source}`);
  // If a part is down, the notice explains the list instead of the hint.
  element("hint").hidden = degraded.length > 0;
  element("hint").textContent = source && text(state.items.length ? `hint_${source}` : "empty");
  element("degraded").hidden = degraded.length === 0;
  element("degraded").textContent = degraded.map((part) => text(`degraded_${part}`)).join(" ");
  element("release-name").textContent = release;
  element("status").textContent = status && text(status.key, status.values);
  element("error").hidden = error === null;
  element("error").textContent = error && text(error.key, error.values);
  element("nothing-done").hidden = done.length > 0;
  element("done").replaceChildren(...done.map(renderDone));
}

function renderProducts() {
  const focused = document.activeElement.closest(".card button");
  const cards = state.items.map(card);
  element("products").replaceChildren(...cards);
  if (!focused) return;
  // The button with the keyboard focus was replaced: focus its successor.
  const { product } = focused.closest(".card").dataset;
  const successor = cards.find((candidate) => candidate.dataset.product === product);
  (successor?.querySelector(`[data-event=${focused.dataset.event}]`) ?? element("heading")).focus({ preventScroll: true });
}

function card(item, rank) {
  const node = element("card").content.firstElementChild.cloneNode(true);
  const part = (name) => node.querySelector(`.${name}`);
  node.dataset.product = item.product_id;
  part("title").textContent = item.title || item.product_id;
  part("category").textContent = item.category;
  part("brand").textContent = item.brand;
  part("price").textContent = item.price === null ? "" : text("price", { price: price(item) });
  part("stock").textContent = item.stock === 0 ? text("out_of_stock") : "";
  part("score").textContent = text("score", { score: number(item.score, 3) });
  part("because").textContent = reason(item);
  part("initials").textContent = initials(item);
  part("tile").style.setProperty("--hue", hue(item.category ?? item.product_id));
  if (item.photo) part("tile").append(photo(item.photo));
  if (state.ranks) mark(part("mark"), climbed(item, rank));
  for (const button of node.querySelectorAll("button")) {
    const { event } = button.dataset;
    button.textContent = text(event);
    button.ariaLabel = `${text(event)}: ${item.title}`; // the list has many "View" buttons
    button.addEventListener("click", () => update(item, event));
  }
  return node;
}

// If the repeat term is the largest part of the score, the buyer's own earlier events say more than other products do.
function reason(item) {
  const { repeat, ...others } = item.score_parts;
  return repeat > Math.max(...Object.values(others)) ? text("chosen_before") : because(item.because);
}

// The events that contributed to a product's score. The API names up to two; events with the same product are shown once.
function because(reasons) {
  const [first, second] = reasons
    .filter((one, place) => place === reasons.findIndex((other) => other.product_id === one.product_id))
    .map((one) => text(`act_${one.event_type}`, { title: isolated(one.title || one.product_id) }));
  if (!first) return "";
  return second ? text("because_two", { first, second }) : text("because_one", { first });
}

function mark(place, climb) {
  if (climb === 0) return;
  place.hidden = false;
  place.classList.toggle("new", climb === null);
  if (climb === null) {
    place.textContent = text("mark_new");
  } else {
    place.textContent = (climb > 0 ? "↑" : "↓") + number(Math.abs(climb), 0);
    place.role = "img"; // screen readers then read the label instead of the arrow
    place.ariaLabel = text(climb > 0 ? "moved_up" : "moved_down", { places: Math.abs(climb) });
  }
}

function photo(address) {
  const image = new Image();
  image.alt = "";
  image.loading = "lazy";
  image.addEventListener("error", () => image.remove()); // shows the initials below it again
  image.src = address;
  return image;
}

function initials(item) {
  const words = item.title.match(/\p{L}[\p{L}\p{M}]*/gu) ?? [item.product_id];
  // The non-joiner keeps Arabic letters from joining into a word.
  return words.slice(0, 2).map((word) => [...word][0].toLocaleUpperCase()).join("\u200c");
}

// A hue that depends on the name alone, so that a category keeps its colour.
function hue(name) {
  return [...name].reduce((hash, letter) => (hash * 31 + letter.codePointAt(0)) % 3600, 7) % 360;
}

function renderDone({ event, title, ms }) {
  const node = document.createElement("li");
  const [what, product, duration] = ["strong", "span", "small"].map((name) => document.createElement(name));
  what.textContent = text(`did_${event}`);
  product.textContent = title;
  product.dir = "auto";
  duration.textContent = ms && text("duration", { ms });
  node.append(what, product, duration);
  return node;
}

element("buyer-form").addEventListener("submit", (submit) => {
  submit.preventDefault();
  switchBuyer(element("buyer").value.trim() || guest());
});
element("new-guest").addEventListener("click", () => switchBuyer(newGuest()));
element("language").addEventListener("click", switchLanguage);
render();
update();
