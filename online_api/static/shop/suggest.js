// The search field with suggestions: a combobox with a list, with the keys of the ARIA pattern.
import { suggestions } from "./api.js";
import { categoryName, brandName } from "./demo_names.js";
import { element, h } from "./dom.js";
import { text } from "./language.js";
import { productPath, resultsPath } from "./paths.js";

const [form, field, listbox] = ["search", "q", "suggestions"].map(element);
let turn = 0; // an answer is dropped if there is a newer question
let chosen = -1;

export function setUpSearch() {
  field.addEventListener("input", suggest);
  field.addEventListener("keydown", press);
  field.addEventListener("blur", () => setTimeout(close, 150)); // after a click on a suggestion
  form.addEventListener("submit", (submit) => {
    submit.preventDefault();
    const q = field.value.trim();
    if (chosen >= 0) options()[chosen].click();
    else if (q) go(resultsPath({ q }));
  });
}

export function showQuery(q) {
  field.value = q ?? "";
  field.dir = field.value ? "auto" : ""; // empty, it has the page's direction, and so has the hint
  close();
}

async function suggest() {
  const mine = ++turn;
  const q = field.value.trim();
  field.dir = q ? "auto" : "";
  // A search field without suggestions still searches.
  const answer = q ? await suggestions(q).catch(() => null) : null;
  if (mine !== turn) return;
  if (!answer?.suggestions.length || document.activeElement !== field) return close();
  listbox.replaceChildren(...answer.suggestions.map(option));
  listbox.hidden = false;
  field.ariaExpanded = "true";
  choose(-1);
}

function option({ text: words, kind, product_id: productId }, place) {
  const path = { product: () => productPath(productId), category: () => resultsPath({ list: "trending", category: words }),
    brand: () => resultsPath({ list: "trending", brand: words }), phrase: () => resultsPath({ q: words }) }[kind];
  const name = kind === "category" ? categoryName(words) : kind === "brand" ? brandName(words) : words;
  return h("li", { id: `suggestion-${place}`, role: "option", "aria-selected": "false", click: () => go(path()) },
    h("bdi", {}, name), h("span", { class: "kind" }, text(`kind_${kind}`)));
}

function press(event) {
  if (listbox.hidden) return;
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) {
    event.preventDefault();
    const count = options().length;
    // From the field itself (-1) to the first or last suggestion, and back to it beyond either end.
    choose(((chosen + 1 + step + count + 1) % (count + 1)) - 1);
  } else if (event.key === "Escape") {
    event.preventDefault();
    close();
  }
}

function choose(place) {
  chosen = place;
  options().forEach((one, index) => (one.ariaSelected = String(index === place)));
  if (place >= 0) field.setAttribute("aria-activedescendant", `suggestion-${place}`);
  else field.removeAttribute("aria-activedescendant");
}

function go(path) {
  turn++;
  close();
  field.blur();
  location.hash = path;
}

function close() {
  listbox.hidden = true;
  field.ariaExpanded = "false";
  chosen = -1;
  field.removeAttribute("aria-activedescendant");
}

const options = () => [...listbox.children];
