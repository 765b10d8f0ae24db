// Who visits, and the buyer token with which this page calls the API. In a shop of your own, your server signs it where
// it makes the page; here POST /visit stands in for that server.
import { recall, remember } from "./storage.js";

const visitor = { buyer: null, token: null, anyBuyer: false, expires: 0 };

export const buyer = () => visitor.buyer;
export const anyBuyer = () => visitor.anyBuyer;
export const bearer = () => ({ Authorization: `Bearer ${visitor.token}` });
export const expired = () => Date.now() > visitor.expires;

// Fetches a token: for the buyer that the address names, else for the guest of the last visit, else for a new one.
export async function visit({ newGuest = false } = {}) {
  const named = new URLSearchParams(location.search).get("buyer")?.trim();
  const last = newGuest ? {} : (recall("guest") ?? {});
  const headers = { "Content-Type": "application/json", ...(last.token && { Authorization: `Bearer ${last.token}` }) };
  const body = JSON.stringify({ buyer_id: named || last.buyer || null });
  const response = await fetch("visit", { method: "POST", headers, body });
  const content = await response.json();
  if (!response.ok) return content.detail;
  const { buyer_id: id, token, seconds, any_buyer: any } = content;
  // A minute early, so that no request is on its way with a token that ends.
  Object.assign(visitor, { buyer: id, token, anyBuyer: any, expires: Date.now() + (seconds - 60) * 1000 });
  if (id !== named) remember("guest", { buyer: id, token });
  return null;
}
