// Finding and making elements.

import { setLabel, text } from "./strings.js";

/** @template {HTMLElement} T @param {string} id @param {new () => T} kind @returns {T} */
export function find(id, kind) {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`no ${kind.name} #${id} in the page`);
  return element;
}

/** @param {string} id @param {() => void} act */
export function onClick(id, act) {
  find(id, HTMLElement).addEventListener("click", act);
}

/** @param {import("./strings.js").Key} key @param {() => void} act
 * @param {string} [sign] shown instead of the words
 * @param {Record<string, string | number>} [values] of the words
 */
export function button(key, act, sign, values) {
  const element = document.createElement("button");
  element.type = "button";
  element.className = sign ? "quiet icon" : "quiet";
  element.textContent = sign ?? text(key, values);
  if (sign) setLabel(element, key, values);
  element.addEventListener("click", act);
  return element;
}

/** A short remark. @param {string} content @param {string} [kind] class of it */
export function note(content, kind = "") {
  const element = document.createElement("span");
  element.textContent = content;
  element.className = kind;
  return element;
}
