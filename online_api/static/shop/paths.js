// The addresses of the pages: the part of the URL after #, so that the server has one page only.
const LISTS = ["trending", "new", "on-sale"];

export const homePath = "#/";
export const cartPath = "#/cart";
export const checkoutPath = "#/checkout";
export const thanksPath = (order) => `#/thanks/${order}`;
export const productPath = (productId) => `#/product/${encodeURIComponent(productId)}`;
export const listPath = (list) => `#/list/${list}`;

// A search or a list with conditions: {q, category, brand, min_price, max_price, currency, in_stock}.
export function resultsPath({ list, ...conditions }) {
  const entries = Object.entries(conditions).flatMap(([key, value]) => [value].flat().map((one) => [key, one]));
  return `#/${list ? `list/${list}` : "search"}?${new URLSearchParams(entries.filter(([, value]) => value))}`;
}

// {page, id?, conditions} of the address.
export function currentPath() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [page = "", id] = path.split("/").map(decoded);
  const parameters = new URLSearchParams(query);
  const conditions = { category: parameters.getAll("category"), brand: parameters.getAll("brand") };
  for (const key of ["q", "min_price", "max_price", "currency", "in_stock"]) conditions[key] = parameters.get(key) ?? undefined;
  if (page === "list" && !LISTS.includes(id)) return { page: "unknown", conditions };
  return { page, id, conditions };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a % of its own
  }
}
