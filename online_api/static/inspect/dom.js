// Builds elements. Texts are set as text, so a title that looks like markup stays a title.

export function element(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (key === "class") node.className = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

// A text of the shop, in whatever direction its language has.
export const foreign = (text) => element("bdi", {}, text);

export const number = (value, digits = 3) =>
  value.toLocaleString("en-GB", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "−");
export const whole = (value) => value.toLocaleString("en-GB");
export const percent = (share, digits = 1) => `${number(100 * share, digits)} %`;

// A bar with its value. `share` is the part of its place that it fills.
export function bar(value, share, kind = "") {
  const fill = element("span", { class: `fill ${kind}` });
  fill.style.inlineSize = `${100 * Math.min(Math.max(share, 0), 1)}%`;
  return element("span", { class: "bar-cell" }, element("span", { class: "track" }, fill), element("span", { class: "value" }, value));
}

// Parts of a sum, one beside the other; those below zero are left out of the bar and stay in the numbers.
export function stacked(parts, largest) {
  const track = element("span", { class: "track tall" });
  for (const { value, kind } of parts) {
    if (value <= 0) continue;
    const fill = element("span", { class: `fill ${kind}` });
    fill.style.inlineSize = `${(100 * value) / largest}%`;
    track.append(fill);
  }
  return track;
}

export const legend = (entries) =>
  element("ul", { class: "legend" }, entries.map(([kind, text]) => element("li", {}, element("span", { class: `dot ${kind}` }), text)));

// A table in a scroller of its own, so that a narrow page need not scroll.
export function table(caption, heads, rows) {
  const head = heads.map((one) => {
    const { text, ...attributes } = typeof one === "string" ? { text: one } : one;
    return element("th", { scope: "col", ...attributes }, text);
  });
  return element(
    "div", { class: "scroller", tabindex: "0", role: "region", "aria-label": caption },
    element("table", {}, element("thead", {}, element("tr", {}, head)), element("tbody", {}, rows)),
  );
}

export const row = (attributes, ...cells) =>
  element("tr", attributes, cells.map((cell) => (cell instanceof HTMLTableCellElement ? cell : element("td", {}, cell))));
export const numeric = (content) => element("td", { class: "number" }, content);

// A product's title, which leads to its own view, and its category.
export function productCell(product) {
  return element("td", { class: "product" },
    element("a", { href: `#product=${encodeURIComponent(product.product_id)}` }, foreign(product.title)),
    product.category && element("small", {}, foreign(product.category)));
}

export const badge = (text, kind = "") => element("span", { class: `badge ${kind}` }, text);

export function card(title, ...children) {
  return element("section", { class: "card" }, element("h2", {}, title), children);
}

const STEPS = [["d", 86_400_000], ["h", 3_600_000], ["min", 60_000], ["s", 1000]];

// A duration in its two largest units.
export function duration(milliseconds) {
  const first = STEPS.findIndex(([, size]) => milliseconds >= size);
  if (first < 0) return "0 s";
  let rest = milliseconds;
  return STEPS.slice(first, first + 2).map(([unit, size]) => {
    const count = Math.floor(rest / size);
    rest -= count * size;
    return count ? `${whole(count)} ${unit}` : "";
  }).join(" ").trim();
}

export const moment = (milliseconds) =>
  new Date(milliseconds).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" }) + " UTC";

// A form of one text, as each view begins with one.
export function lookupForm({ label, value, go, placeholder = "", more = [] }) {
  const input = element("input", { id: "lookup", value, placeholder, required: true, autocomplete: "off", spellcheck: "false", dir: "auto" });
  const submit = (event) => {
    event.preventDefault();
    go(input.value.trim());
  };
  return element("form", { class: "row lookup", onsubmit: submit },
    element("label", { for: "lookup" }, label), input, element("button", { type: "submit", class: "main" }, "Show"), more);
}

export function choice(label, selected, options, change) {
  const select = element("select", { id: `choice-${label}`, onchange: () => change(select.value) },
    options.map(([value, text]) => element("option", { value, selected: value === selected }, text)));
  return element("span", { class: "option" }, element("label", { for: `choice-${label}` }, label), select);
}

export function checkbox(label, checked, change) {
  const box = element("input", { type: "checkbox", checked, onchange: () => change(box.checked) });
  return element("label", { class: "option" }, box, label);
}
