// The two API calls of the page.

// An error for the visitor: the key of a text, and the server's message.
export class ApiError extends Error {
  constructor(key, detail) {
    super(key);
    this.notice = { key, values: { detail } };
  }
}

async function call(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new ApiError("unreachable");
  }
  const content = await response.json().catch(() => null); // a proxy's error page is not JSON
  if (!response.ok || content === null) {
    throw new ApiError("failed", content?.detail ?? `HTTP ${response.status}`);
  }
  return content;
}

export function recommendations(buyer, k, language) {
  return call(`v1/buyers/${encodeURIComponent(buyer)}/recommendations?k=${k}&lang=${language}`);
}

export async function recordEvent(buyer, productId, event) {
  const events = [{ buyer_id: buyer, product_id: productId, event_type: event }];
  const headers = { "Content-Type": "application/json" };
  const response = await call("v1/events", { method: "POST", headers, body: JSON.stringify({ events }) });
  if (response.rejected.length) throw new ApiError("rejected", response.rejected[0].reason);
}
