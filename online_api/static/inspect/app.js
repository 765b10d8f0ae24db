// Chooses the view by the address, such as #buyer=936, and asks for a key when the API wants one.

import { ApiError, hasKey, rememberKey } from "./api.js";
import { buyerView } from "./buyer.js";
import { mapView } from "./map.js";
import { productView } from "./product.js";
import { searchView } from "./search.js";

const VIEWS = { map: mapView, product: productView, search: searchView, buyer: buyerView };
const at = (id) => document.getElementById(id);
let shown = 0; // counts the views: the answer to an earlier one comes too late

async function show() {
  const turn = ++shown;
  const parameters = new URLSearchParams(location.hash.slice(1));
  const name = Object.keys(VIEWS).find((view) => parameters.has(view)) ?? "buyer";
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  at("error").hidden = true;
  at("key-form").hidden = true;
  at("forget-key").hidden = !hasKey();
  const late = setTimeout(() => { at("busy").textContent = "Loading …"; }, 300);
  try {
    const content = await VIEWS[name](parameters, go);
    if (turn === shown) at("view").replaceChildren(...content);
  } catch (error) {
    if (turn === shown) report(error);
  } finally {
    clearTimeout(late);
    if (turn === shown) at("busy").textContent = "";
  }
}

function report(error) {
  if (!(error instanceof ApiError)) throw error;
  const needsKey = error.status === 401 || error.status === 403;
  at("key-form").hidden = !needsKey;
  // Without a key the form says enough.
  at("error").hidden = needsKey && !hasKey();
  at("error").textContent = error.message;
  if (needsKey) {
    at("view").replaceChildren();
    at("key").focus();
  }
}

// Changes the address, which shows the view; values that are null leave it.
function go(changes) {
  const parameters = new URLSearchParams(location.hash.slice(1));
  for (const [key, value] of Object.entries(changes)) {
    if (value === null) parameters.delete(key);
    else parameters.set(key, value);
  }
  location.hash = parameters.toString();
}

at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  rememberKey(at("key").value.trim());
  at("key").value = "";
  show();
});
at("forget-key").addEventListener("click", () => {
  rememberKey(null);
  at("view").replaceChildren();
  show();
});
document.addEventListener("release", (event) => {
  at("release").hidden = false;
  at("release").querySelector("bdi").textContent = event.detail;
});
addEventListener("hashchange", show);
show();
