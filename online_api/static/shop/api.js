// The calls to the API (docs/api.md), each with the visitor's token.
import { bearer, buyer, expired, visit } from "./session.js";
import { language } from "./language.js";

// An error for the visitor: the key of a text, and the server's message.
export class ApiError extends Error {
  constructor(key, detail, status) {
    super(key);
    this.notice = { key, values: { detail } };
    this.status = status;
  }
}

// fetch() and what uses it reject where nothing answers.
function reached(answer) {
  return answer.catch(() => Promise.reject(new ApiError("unreachable")));
}

// Gets the visitor's token.
export async function enter(options) {
  const refusal = await reached(visit(options));
  if (refusal !== null) throw new ApiError("failed", refusal);
}

const send = (path, options) => reached(fetch(path, { ...options, headers: { ...options.headers, ...bearer() } }));

async function call(path, options = {}) {
  if (expired()) await enter();
  let response = await send(path, options);
  if (response.status === 401) {
    await enter(); // the server signs with another secret now
    response = await send(path, options);
  }
  const content = await response.json().catch(() => null); // a proxy's error page is not JSON
  if (!response.ok || content === null) {
    throw new ApiError("failed", content?.detail ?? `HTTP ${response.status}`, response.status);
  }
  return content;
}

function post(path, body) {
  return call(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

// A query string; of a list, each entry.
function query(parameters) {
  const entries = Object.entries(parameters).flatMap(([key, value]) => [value].flat().map((one) => [key, one]));
  return new URLSearchParams(entries.filter(([, value]) => value !== undefined && value !== null && value !== ""));
}

// A list of the API by its path below v1/.
function list(path, parameters) {
  return call(`v1/${path}?${query({ lang: language(), ...parameters })}`);
}

const own = (path) => `buyers/${encodeURIComponent(buyer())}/${path}`;
const of = (productId, path) => `products/${encodeURIComponent(productId)}/${path}`;

export const recommendations = (parameters) => list(own("recommendations"), parameters);
export const buyAgain = (parameters) => list(own("again"), { fill: false, ...parameters });
export const recentlyViewed = (parameters) => list(own("recent"), { fill: false, ...parameters });
export const similar = (productId, parameters) => list(of(productId, "similar"), parameters);
export const boughtTogether = (productId, parameters) => list(of(productId, "bought-together"), { fill: false, ...parameters });
export const search = (parameters) => list("search", { facets: true, ...parameters });
// trending, new or on-sale.
export const shopList = (name, parameters) => list(name, parameters);
export const suggestions = (q) => call(`v1/suggestions?${query({ q, k: 8 })}`);

export function product(productId) {
  return call(`v1/products/${encodeURIComponent(productId)}?${query({ lang: language() })}`);
}

export function cartSuggestions(productIds, k) {
  return post("v1/cart", { product_ids: productIds, buyer_id: buyer(), k, lang: language(), filters: { in_stock: true } });
}

// Events: [{product_id, event_type, quantity?, event_id?}], all of the visitor.
export async function recordEvents(events) {
  const answer = await post("v1/events", { events: events.map((event) => ({ buyer_id: buyer(), ...event })) });
  if (answer.rejected.length) throw new ApiError("rejected", answer.rejected[0].reason);
}
