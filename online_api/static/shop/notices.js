// What the shop says to the visitor: in passing at the foot of the window, and errors at the head of the page.
import { ApiError } from "./api.js";
import { element, h } from "./dom.js";
import { text } from "./language.js";

const SECONDS = 6;
let timer = null;
let retry = () => location.reload();

// Screen readers read it as well (role=status).
export function announce(words) {
  element("status").textContent = words;
  clearTimeout(timer);
  timer = setTimeout(() => (element("status").textContent = ""), SECONDS * 1000);
}

// What the button "try again" does.
export function onRetry(action) {
  retry = action;
}

export function failed(error) {
  if (!(error instanceof ApiError)) console.error(error);
  const { key, values } = error.notice ?? { key: "failed", values: { detail: String(error) } };
  element("error").replaceChildren(
    h("p", { dir: "auto" }, text(key, values)),
    h("button", { type: "button", click: () => retry() }, text("retry")));
  element("error").hidden = false;
}

export function clearError() {
  element("error").hidden = true;
  element("error").replaceChildren();
}
