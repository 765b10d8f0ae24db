// Who visits, and in which language: kept in the browser, so that the next visit finds the same.
export const LANGUAGES = { en: { direction: "ltr", name: "English" }, ar: { direction: "rtl", name: "العربية" } };

const GUEST = "tawsiya-guest";
const LANGUAGE = "tawsiya-language";

function recall(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null; // storage is switched off; the page works without
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
  // Not randomUUID: browsers offer that to https pages only.
  const bytes = crypto.getRandomValues(new Uint8Array(3));
  const id = "guest-" + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  remember(GUEST, id);
  return id;
}
