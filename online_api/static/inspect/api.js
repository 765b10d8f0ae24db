// The API calls of the page. The key is in this tab's session storage, and travels in a header, never in an address.

const KEY = "tawsiya-admin-key";

export class ApiError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export function rememberKey(key) {
  try {
    if (key) sessionStorage.setItem(KEY, key);
    else sessionStorage.removeItem(KEY);
  } catch {
    // storage is disabled: the key holds until the page is left
  }
  known = key;
}

let known = (() => {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
})();

export const hasKey = () => Boolean(known);

async function call(path, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  let response;
  try {
    response = await fetch(query ? `${path}?${query}` : path, { headers: known ? { "X-API-Key": known } : {} });
  } catch {
    throw new ApiError(0, "The API cannot be reached.");
  }
  const content = await response.json().catch(() => null); // a proxy's error page is not JSON
  if (!response.ok || content === null) throw new ApiError(response.status, content?.detail ?? `HTTP ${response.status}`);
  return content;
}

const id = encodeURIComponent;

export const buyer = (buyerId, conditions) => call(`v1/inspect/buyers/${id(buyerId)}`, conditions);
export const compareBuyer = (buyerId, conditions) => call(`v1/inspect/buyers/${id(buyerId)}/compare`, conditions);
export const product = (productId) => call(`v1/inspect/products/${id(productId)}`, { k: 15 });
export const compareProduct = (productId, release) =>
  call(`v1/inspect/products/${id(productId)}/compare`, { k: 15, release });
export const search = (query) => call("v1/inspect/search", { q: query, k: 20 });
export const map = () => call("v1/inspect/map");
export const releases = async () => (await call("v1/admin/releases")).releases;
