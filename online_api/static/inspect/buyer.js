// A buyer: the stored events with their attention, and the list with the parts of each score.

import * as api from "./api.js";
import { comparisonCard, releaseChoice } from "./comparison.js";
import {
  badge, bar, card, checkbox, duration, element, foreign, legend, lookupForm, moment, number, numeric, percent, productCell, row, stacked, table, whole,
} from "./dom.js";

const FEW = 10; // events that are shown at first
const PARTS = [["similarity", "Similarity"], ["popularity", "Popularity"], ["repeat", "Repeat"], ["co_occurrence", "Co-occurrence"], ["closeness", "Closeness"], ["rules", "Rules"]];
const EVENTS = { view: "viewed", add_to_cart: "into cart", purchase: "bought" };
const LEFT_OUT = {
  too_old: "too old: the history is full",
  unknown_product: "the release does not have this product",
  no_weight: "events of this type have weight 0",
};
const SOURCES = {
  personalised: "made from the stored events",
  popular: "popular products, because no stored event is usable",
  popular_in_filter: "popular products within the conditions, because no stored event is usable",
};
const DROPPED = { out_of_stock: "sold out", purchased: "bought before", not_listed: "not listed" };

export async function buyerView(parameters, go) {
  const buyerId = parameters.get("buyer") ?? "";
  const conditions = { k: 20 };
  for (const name of ["new_only", "in_stock"]) if (parameters.has(name)) conditions[name] = true;
  if (parameters.get("rules") === "off") conditions.rules = false;
  const release = parameters.get("release");
  const [body, releases, comparison] = await Promise.all([
    buyerId ? api.buyer(buyerId, conditions) : null,
    releaseChoice(release, go),
    buyerId && release ? comparisonCard(api.compareBuyer(buyerId, { ...conditions, release })) : null,
  ]);
  const form = lookupForm({ label: "Buyer id", value: buyerId, go: (text) => go({ buyer: text }), more: [
    checkbox("new products only", conditions.new_only, (on) => go({ new_only: on ? 1 : null })),
    checkbox("in stock only", conditions.in_stock, (on) => go({ in_stock: on ? 1 : null })),
    checkbox("shop's rules", conditions.rules !== false, (on) => go({ rules: on ? null : "off" })),
    releases,
  ] });
  if (!body) return [form, element("p", { class: "hint" }, "Enter a buyer id to see what the feature store holds of this buyer and why the list looks as it does.")];
  document.dispatchEvent(new CustomEvent("release", { detail: body.release }));
  const rows = eventRows(body);
  return [form, summary(body), comparison, eventsCard(body, rows), listCard(body, rows)].filter(Boolean);
}

function summary(body) {
  const used = body.events.filter((event) => event.attention !== null).length;
  const built = body.features?.built;
  return element("p", { class: "facts" },
    element("strong", {}, "Buyer ", foreign(body.buyer_id)), ": ", SOURCES[body.source] ?? body.source, ". ",
    `${used} of ${whole(body.events.length)} events count; the history has room for ${body.max_events}. `,
    `${whole(body.n_purchases)} purchases count as repeats. Aggregation: `, element("code", {}, body.aggregation), ". ",
    built ? `Features built ${duration(Date.now() - built)} ago. ` : "",
    body.degraded.length ? badge(`down: ${body.degraded.join(", ")}`, "bad") : "",
    " ", element("a", { href: `#map&buyer=${encodeURIComponent(body.buyer_id)}` }, "Show on the map"));
}

function eventRows(body) {
  const largest = Math.max(...body.events.map((event) => event.attention ?? 0), 1e-9);
  const newest = Math.max(...body.events.map((event) => event.timestamp));
  return body.events.map((event, place) => eventRow(event, newest, largest, place >= FEW));
}

function eventsCard(body, rows) {
  if (!body.events.length) return card("Events", element("p", { class: "hint" }, "The feature store holds no event of this buyer."));
  const content = [table("Events, newest first", [
    { text: "#", class: "number" }, "Product", "Event", "Before the newest", "Stored by", { text: "Type weight", class: "number" }, "Attention",
  ], rows)];
  if (body.events.length > FEW) {
    const all = element("button", { type: "button", class: "quiet small", onclick: () => {
      for (const one of rows) one.hidden = false;
      all.remove();
    } }, `Show all ${whole(body.events.length)} events`);
    content.push(all);
  }
  return card("Events, newest first",
    element("p", { class: "hint" }, "Attention is each event's share of the buyer vector; all shares together make 100 %. ",
      "“Refresh” events were there at the last tawsiya refresh, “API” events came since."), content);
}

function eventRow(event, newest, largest, hidden) {
  const product = event.product_id === null
    ? element("td", { class: "product" }, element("span", { class: "soft" }, "unknown product"), element("small", {}, `key ${event.product_key}`))
    : productCell(event);
  const attention = event.left_out ? badge(LEFT_OUT[event.left_out], "warm")
    : event.attention === null ? "–" : bar(percent(event.attention), event.attention / largest, "similarity");
  return row({ class: event.left_out ? "left-out" : "", hidden, tabindex: "-1" }, numeric(event.number), product,
    badge(EVENTS[event.event_type] ?? event.event_type, event.event_type),
    element("td", { class: "nowrap", title: moment(event.timestamp) }, event.timestamp === newest ? "newest" : duration(newest - event.timestamp), element("small", {}, moment(event.timestamp))),
    event.stored_in.map((place) => (place === "pushed" ? "API" : "Refresh")).join(", "),
    numeric(number(event.weight, 0)), attention);
}

function listCard(body, rows) {
  const shown = PARTS.filter(([name]) => body.items.some((item) => item.score_parts[name] !== 0));
  const positive = (item) => shown.reduce((sum, [name]) => sum + Math.max(item.score_parts[name], 0), 0);
  const largest = Math.max(...body.items.map(positive), 1e-9);
  return card("List",
    removed(body),
    legend(shown),
    table("List", [
      { text: "#", class: "number" }, "Product", "Score", ...shown.map(([, text]) => ({ text, class: "number" })), "Similarity comes from",
    ], body.items.map((item) => row({},
      numeric(item.rank),
      productCell(item),
      element("td", { class: "score" }, stacked(shown.map(([name]) => ({ value: item.score_parts[name], kind: name })), largest), element("span", { class: "value" }, number(item.score))),
      ...shown.map(([name]) => numeric(number(item.score_parts[name]))),
      element("td", { class: "reasons" }, reasons(item, body.events, rows), item.rules.map((rule) => badge(`rule ${rule}`, "warm"))),
    ))));
}

// The numbers of events lead to their rows, whose product is their tooltip.
function reasons({ similarity_parts: parts }, events, rows) {
  const signed = (value) => (Math.abs(value) < 0.0005 ? "0" : value < 0 ? number(value) : `+${number(value)}`);
  return [
    ...parts.events.slice(0, 3).map(({ number: place, contribution }) => element("span", { class: "reason" },
      element("button", { type: "button", class: "link", title: events[place - 1].title, onclick: () => lead(rows[place - 1]) }, `event ${place}`), " ", element("b", {}, signed(contribution)))),
    element("span", { class: "reason soft" }, "other events ", signed(parts.other_events + parts.events.slice(3).reduce((sum, event) => sum + event.contribution, 0))),
    element("span", { class: "reason soft" }, "every buyer ", signed(parts.every_buyer)),
  ];
}

function lead(eventRow) {
  eventRow.hidden = false;
  eventRow.focus();
  eventRow.scrollIntoView({ block: "center" });
}

function removed(body) {
  const dropped = Object.entries(body.dropped);
  const text = dropped.map(([reason, count]) => `${whole(count)} ${DROPPED[reason] ?? reason}`).join(", ");
  return element("p", { class: "hint" }, `${whole(body.matching)} products were candidates. `,
    dropped.length ? `Removed before ranking: ${text}.` : "No condition removed any.");
}
