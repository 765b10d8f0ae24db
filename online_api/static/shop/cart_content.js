// What is in the cart: kept in the browser, as most shops do for guests.
import { recall, remember } from "./storage.js";

const MOST = 99;
const lines = new Map(recall("cart") ?? []); // product id -> {product, quantity}
const watchers = [];

export const cartLines = () => [...lines.values()];
export const cartCount = () => cartLines().reduce((sum, { quantity }) => sum + quantity, 0);
export const cartProductIds = () => [...lines.keys()];

export function onCartChange(watcher) {
  watchers.push(watcher);
}

export function addToCart(product, quantity = 1) {
  setQuantity(product, (lines.get(product.product_id)?.quantity ?? 0) + quantity);
}

// A quantity of 0 takes the product out.
export function setQuantity(product, quantity) {
  const { product_id, title, brand, category, photo, price, currency } = product;
  const kept = { product_id, title, brand, category, photo, price, currency };
  if (quantity < 1) lines.delete(product_id);
  else lines.set(product_id, { product: kept, quantity: Math.min(quantity, MOST) });
  changed();
}

// One number for all tries to order what is in the cart: an order whose answer got lost must not count twice.
export function orderNumber() {
  const bytes = Array.from(crypto.getRandomValues(new Uint8Array(4)));
  const number = recall("order") ?? bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
  remember("order", number);
  return number;
}

export function emptyCart() {
  lines.clear();
  remember("order", null);
  changed();
}

// The sums by currency; null if a price is unknown.
export function cartTotals() {
  const totals = new Map();
  for (const { product, quantity } of lines.values()) {
    if (product.price === null) return null;
    totals.set(product.currency, (totals.get(product.currency) ?? 0) + product.price * quantity);
  }
  return totals;
}

function changed() {
  remember("cart", [...lines]);
  for (const watcher of watchers) watcher();
}
