// Builds elements. Titles and ids are untrusted: they become text or attributes, never markup.
export function h(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(key, value);
    else if (key === "class") node.className = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => ![null, undefined, false, ""].includes(child)));
  return node;
}

export const element = (id) => document.getElementById(id);
