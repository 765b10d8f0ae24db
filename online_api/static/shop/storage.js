// What the browser keeps for the next visit: the language, the guest and the cart.
const PREFIX = "tawsiya-";

export function recall(key) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + key));
  } catch {
    return null; // storage is disabled or holds something else; the shop works without it
  }
}

export function remember(key, value) {
  try {
    localStorage.setItem(PREFIX + key, JSON.stringify(value));
  } catch {
    // as above
  }
}
