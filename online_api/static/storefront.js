// The storefront demo: shows a buyer's recommendations, tells the API what the buyer does, and shows what that changes.
// Titles and ids are untrusted: they enter the page as textContent or attributes, never as markup.
import { ApiError, recommendations, tell } from "./api.js";
import { TEXTS } from "./texts.js";
import { LANGUAGES, guest, newGuest, rememberLanguage, startLanguage } from "./visitor.js";

const K = 12;

const element = (id) => document.getElementById(id);

// What the page shows; render() draws it, everything else changes it.
const state = {
  language: startLanguage(),
  buyer: new URLSearchParams(location.search).get("buyer")?.trim() || guest(),
  items: [],
  source: null,
  degraded: [],
  release: null,
  ranks: null, // product id -> place in the list before the last click; null where there was none
  done: [], // {event, title, ms}, newest first; no ms until the new list is there
  status: { key: "loading" }, // a text's key and the values in it, so that it can change language
  error: null,
};
let turn = 0; // counts the lists asked for: an answer that a newer click has overtaken is dropped

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

// A text that may run in the other direction than the one around it (U+2068 and U+2069 are Unicode's isolate).
function isolated(title) {
  return `\u2068${title}\u2069`;
}

// ---- What happens

// Brings the list up to date, after the event of a click where there was one.
async function update(product, event) {
  const started = performance.now();
  const buyer = state.buyer;
  const mine = ++turn;
  state.error = null;
  element("products").ariaBusy = "true";
  try {
    const done = event && { event, title: product.title };
    if (done) {
      await tell(buyer, product.product_id, event);
      if (buyer !== state.buyer) return;
      state.done.unshift(done);
    }
    const answer = await recommendations(buyer, K);
    if (buyer !== state.buyer) return;
    if (mine === turn) {
      state.ranks = event ? new Map(state.items.map((item, rank) => [item.product_id, rank])) : null;
      const { items, source, degraded, release } = answer;
      Object.assign(state, { items, source, degraded, release });
      renderProducts();
    }
    // Rounded up, for nothing takes 0 ms. Drawing the list is part of it.
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
  render();
}

function otherLanguage() {
  return state.language === "en" ? "ar" : "en";
}

// How far a product moved up since the last click; null for one that was not in the list.
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
  // With a part away, why the list is as it is is what the notice says.
  element("hint").hidden = degraded.length > 0;
  element("hint").textContent = source && text(state.items.length ? `hint_${source}` : "empty");
  element("degraded").hidden = degraded.length === 0;
  element("degraded").textContent = degraded.map((part) => text(`degraded_${part}`)).join(" ");
  element("release-name").textContent = release;
  element("status").textContent = status && text(status.key, status.values);
  element("error").hidden = error === null;
  element("error").textContent = error && text(error.key, error.values);
  element("nothing-done").hidden = done.length > 0;
  element("done").replaceChildren(...done.map(deed));
}

function renderProducts() {
  const focused = document.activeElement.closest(".card button");
  const cards = state.items.map(card);
  element("products").replaceChildren(...cards);
  if (!focused) return;
  // The button that had the keyboard's focus is gone: give it to its successor.
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
  part("price").textContent = item.price === null ? "" : text("price", { price: number(item.price, 2) });
  part("stock").textContent = item.stock === 0 ? text("out_of_stock") : "";
  part("score").textContent = text("score", { score: number(item.score, 3) });
  part("because").textContent = because(item.because);
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

// What the buyer did that speaks for a product. The API names two events at most; here each product comes once.
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
    place.role = "img"; // so that the label is read in place of the arrow
    place.ariaLabel = text(climb > 0 ? "moved_up" : "moved_down", { places: Math.abs(climb) });
  }
}

function photo(address) {
  const image = new Image();
  image.alt = "";
  image.loading = "lazy";
  image.addEventListener("error", () => image.remove()); // the initials below it show again
  image.src = address;
  return image;
}

function initials(item) {
  const words = item.title.match(/\p{L}[\p{L}\p{M}]*/gu) ?? [item.product_id];
  // The non-joiner keeps Arabic letters from growing together into a word.
  return words.slice(0, 2).map((word) => [...word][0].toLocaleUpperCase()).join("\u200c");
}

// The same colour for the same category, on every visit.
function hue(name) {
  return [...name].reduce((hash, letter) => (hash * 31 + letter.codePointAt(0)) % 3600, 7) % 360;
}

function deed({ event, title, ms }) {
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
