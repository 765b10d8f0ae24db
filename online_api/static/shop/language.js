// The visitor's language: texts, numbers and prices in it.
import { recall, remember } from "./storage.js";
import { TEXTS } from "./texts.js";

// The locale decides on digits: Arabic-Indic ones in Arabic.
const LANGUAGES = {
  en: { direction: "ltr", name: "English", locale: "en-US" },
  ar: { direction: "rtl", name: "العربية", locale: "ar-EG" },
};

const wanted = recall("language") ?? navigator.language.slice(0, 2);
let current = Object.hasOwn(LANGUAGES, wanted) ? wanted : "en";

export const language = () => current;
export const otherLanguage = () => (current === "en" ? "ar" : "en");
export const languageName = (one) => LANGUAGES[one].name;

export function setLanguage(one) {
  current = one;
  remember("language", one);
  applyLanguage();
}

export function applyLanguage() {
  document.documentElement.lang = current;
  document.documentElement.dir = LANGUAGES[current].direction;
  for (const place of document.querySelectorAll("[data-text]")) place.textContent = text(place.dataset.text);
  for (const place of document.querySelectorAll("[data-label]")) place.ariaLabel = text(place.dataset.label);
  for (const place of document.querySelectorAll("[data-hint]")) place.placeholder = text(place.dataset.hint);
}

// A text; {name} in it is replaced by a value, whose numbers are written in the language's digits.
export function text(key, values = {}) {
  return TEXTS[current][key].replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name];
    if (value === undefined) throw new Error(`the text ${key} needs ${name}`);
    return typeof value === "number" ? number(value) : value;
  });
}

export function number(value, options = {}) {
  return value.toLocaleString(LANGUAGES[current].locale, { maximumFractionDigits: 0, ...options });
}

// Without a currency it is a plain number, because a wrong sign would be a wrong price.
export function price(amount, currency) {
  if (currency === null) return number(amount, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const format = new Intl.NumberFormat(LANGUAGES[current].locale, { style: "currency", currency, currencyDisplay: "narrowSymbol" });
  // The sign stands apart from the digits: between Arabic digits and a right-to-left text, "US$" would turn into "$US".
  return format.formatToParts(amount).map((part) => (part.type === "currency" ? leftToRight(part.value) : part.value)).join("");
}

const leftToRight = (words) => (/[\u0600-\u06ff]/.test(words) ? words : `\u2066${words}\u2069`);

// Isolates a text that may run in the other direction than its surroundings (U+2068 and U+2069 are Unicode isolates).
export function isolated(words) {
  return `\u2068${words}\u2069`;
}
