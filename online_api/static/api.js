// The two calls of the API that the page needs.

// Something the visitor should read: the key of a text, and what the server says about it.
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

export function recommendations(buyer, k) {
  return call(`v1/buyers/${encodeURIComponent(buyer)}/recommendations?k=${k}`);
}

export async function tell(buyer, productId, event) {
  const events = [{ buyer_id: buyer, product_id: productId, event_type: event }];
  const headers = { "Content-Type": "application/json" };
  const answer = await call("v1/events", { method: "POST", headers, body: JSON.stringify({ events }) });
  if (answer.rejected.length) throw new ApiError("rejected", answer.rejected[0].reason);
}
