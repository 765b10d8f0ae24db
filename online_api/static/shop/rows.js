// Rows of products, each a list of the API, and what a click does to the recommended row.
import { recommendations, recordEvents } from "./api.js";
import { addToCart } from "./cart_content.js";
import { card } from "./card.js";
import { element, h } from "./dom.js";
import { isolated, text } from "./language.js";
import { announce, failed } from "./notices.js";

export const ROW_LENGTH = 12;

// An empty row, which fills when `load` answers, and stays hidden if there is nothing.
export async function fillRow(row, { title, load, more }) {
  const list = await load();
  renderRow(row, { title, more, list });
}

export function emptyRow(name) {
  return h("section", { class: "row", "data-row": name, "aria-labelledby": `row-${name}`, hidden: true });
}

function renderRow(row, contents) {
  keepingFocus(row, () => drawRow(row, contents));
}

function drawRow(row, { title, more, list, moved = () => undefined, status = "" }) {
  row.hidden = list.items.length === 0;
  const { row: name } = row.dataset;
  const cards = list.items.map((item, rank) => card(item, { moved: moved(item, rank), listSource: list.source, add }));
  row.replaceChildren(
    h("div", { class: "row-heading" },
      h("h2", { id: `row-${name}`, tabindex: "-1" }, title),
      h("span", { class: "source", "data-source": list.source }, text(`source_${list.source}`)),
      more && h("a", { class: "more", href: more, "aria-label": `${text("see_all")}: ${title}` }, text("see_all"))),
    h("p", { class: "hint" }, list.degraded.map((part) => text(`degraded_${part}`)).join(" ") || text(`hint_${list.source}`)),
    status && h("p", { class: "changes" }, status),
    h("ul", { class: "cards" }, cards));
}

// Rows that are drawn anew keep the keyboard focus: on the same button of the same product, else on the heading.
function keepingFocus(row, draw) {
  const focused = document.activeElement.closest?.(".card");
  const [product, isButton] = [focused?.dataset.product, document.activeElement.matches("button")];
  const inside = focused && row.contains(focused);
  draw();
  if (!inside) return;
  const successor = [...row.querySelectorAll(".card")].find((one) => one.dataset.product === product);
  (successor?.querySelector(isButton ? "button" : "a") ?? row.querySelector("h2")).focus({ preventScroll: true });
}

// ---- The recommended row

let turn = 0; // counts requests: a list is dropped if there is a newer request
let shown = null; // ids of the recommended products that the visitor saw last, on whatever page

export function forgetRecommended() {
  shown = null;
}

export async function fillRecommended(row) {
  await refresh(row, null);
}

// Records events, then shows what they changed; false if that failed. `done` is what the visitor did, in words.
export async function act(events, done) {
  const started = performance.now();
  try {
    await recordEvents(events);
    const row = document.querySelector("[data-row=recommended]");
    if (row) await refresh(row, { started, done });
    else announce(done);
    return true;
  } catch (error) {
    failed(error);
    return false;
  }
}

async function refresh(row, click) {
  const mine = ++turn;
  const list = await recommendations({ k: ROW_LENGTH });
  if (mine !== turn) return;
  const before = shown;
  const climbed = (item, rank) => (before.includes(item.product_id) ? before.indexOf(item.product_id) - rank : null);
  const compare = click !== null && before !== null;
  shown = list.items.map((item) => item.product_id);
  const moves = compare ? list.items.map(climbed) : [];
  const fresh = moves.filter((move) => move === null).length;
  // Rounded up, so that it is never 0 ms.
  const ms = click && Math.ceil(performance.now() - click.started);
  const status = compare ? text("updated", { ms, fresh, moved: moves.filter((move) => move !== 0).length - fresh }) : "";
  renderRow(row, { title: text("recommended"), list, status, ...(compare && { moved: climbed }) });
  element("release").textContent = list.release;
  if (click) announce(status ? `${click.done} · ${status}` : click.done);
}

// The button of a card.
export async function add(product) {
  addToCart(product);
  const title = isolated(product.title || product.product_id);
  await act([{ product_id: product.product_id, event_type: "add_to_cart" }], text("did_add_to_cart", { title }));
}
