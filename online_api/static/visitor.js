// The visitor's id and language, kept in the browser for the next visit.
export const LANGUAGES = { en: { direction: "ltr", name: "English" }, ar: { direction: "rtl", name: "العربية" } };

const GUEST = "tawsiya-guest";
const LANGUAGE = "tawsiya-language";

function recall(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // storage is disabled; the page works without it
  }
}

function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // as above
  }
}

export function startLanguage() {
  const wanted = recall(LANGUAGE) ?? navigator.language.slice(0, 2);
  return Object.hasOwn(LANGUAGES, wanted) ? wanted : "en";
}

export function rememberLanguage(language) {
  remember(LANGUAGE, language);
}

export function guest() {
  return recall(GUEST) ?? newGuest();
}

export function newGuest() {
  // Not randomUUID, which browsers offer to https pages only.
  const bytes = crypto.getRandomValues(new Uint8Array(3));
  const id = "guest-" + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  remember(GUEST, id);
  return id;
}
