// Passages of an answer that are in a document word for word: found, marked and linked.

import { button, note } from "./dom.js";
import { languageOf, setLabel, text } from "./strings.js";

/** @typedef {import("./conversation.js").Attached} Attached */
/** @typedef {{ attached: Attached, start: number, end: number }} Passage characters of the document */

// What differs between a text and a quotation of it: white space, quotation marks, Markdown's stars.
const PASSED_OVER = /[\s"'“”‘’「」『』«»*_`\u00ad]/;
const FULL_WIDTH = { "，": ",", "。": ".", "：": ":", "；": ";", "！": "!", "？": "?", "（": "(", "）": ")" };
const QUOTED = /“([^“”]+)”|「([^「」]+)」|『([^『』]+)』|«([^«»]+)»|"([^"\n]+)"/g;
const SENTENCE = /[^。！？!?\n]+?(?:[。！？!?]+|\.(?=\s|$)|$)/gm;

/** @typedef {{ characters: string, places: number[] }} Folded */
/** @type {WeakMap<Attached, Folded>} */
const folded = new WeakMap();

/** Characters that count, and where in the text each of them is. @param {string} source @returns {Folded} */
function fold(source) {
  const places = [];
  let characters = "";
  for (let place = 0; place < source.length; place += 1) {
    const character = source[place];
    if (PASSED_OVER.test(character)) continue;
    const plain = FULL_WIDTH[/** @type {keyof typeof FULL_WIDTH} */ (character)] ?? character.toLowerCase();
    characters += plain.length === 1 ? plain : character;
    places.push(place);
  }
  return { characters, places };
}

/** Where a passage is in one of the documents. Its last full stop may be the answer's own.
 * @param {string} passage @param {Attached[]} documents @returns {Passage | null}
 */
export function findPassage(passage, documents) {
  const wanted = fold(passage).characters.replace(/[.,;:!?…]+$/, "");
  if (!wanted) return null;
  for (const attached of documents) {
    const whole = folded.get(attached) ?? fold(attached.text);
    folded.set(attached, whole);
    const at = whole.characters.indexOf(wanted);
    if (at < 0) continue;
    return { attached, start: whole.places[at], end: whole.places[at + wanted.length - 1] + 1 };
  }
  return null;
}

/** Shorter ones are names and terms, which are everywhere.
 * @param {string} passage @param {number} letters @param {number} ideographs
 */
function isLong(passage, letters, ideographs) {
  const { characters } = fold(passage);
  return characters.length >= (languageOf(passage) === "zh-Hans" ? ideographs : letters);
}

/**
 * Mark the passages of an answer that are in a document, quoted or not, and the quotations that are
 * in none.
 * @param {HTMLElement} root
 * @param {Attached[]} documents
 * @param {(passage: Passage) => void} jump
 */
export function markQuotes(root, documents, jump) {
  if (documents.length === 0) return;
  for (const block of root.querySelectorAll("p, li, td, h1, h2, h3, h4")) {
    if (block.querySelector("p, li, math")) continue;
    const whole = block.textContent ?? "";
    const marks = passagesOf(whole, block.closest("blockquote") !== null);
    // From the end, so that the places of those before it stay.
    for (const { start, end, isQuoted } of marks.reverse()) {
      const passage = whole.slice(start, end);
      const found = findPassage(passage, documents);
      if (found) mark(block, start, end, "quote", jumpButton(found, jump));
      else if (isQuoted) mark(block, start, end, "quote missing", missing());
    }
  }
}

/** @param {string} whole @param {boolean} isBlockquote */
function passagesOf(whole, isBlockquote) {
  if (isBlockquote && isLong(whole, 12, 6)) return [{ start: 0, end: whole.length, isQuoted: true }];
  const found = [...whole.matchAll(QUOTED)]
    .filter(([passage]) => isLong(passage, 12, 6))
    .map((match) => ({ start: match.index, end: match.index + match[0].length, isQuoted: true }));
  for (const match of whole.matchAll(SENTENCE)) {
    const start = match.index + match[0].length - match[0].trimStart().length;
    const end = match.index + match[0].length;
    const isApart = found.every((other) => end <= other.start || start >= other.end);
    if (isApart && isLong(match[0], 30, 12)) found.push({ start, end, isQuoted: false });
  }
  return found.sort((a, b) => a.start - b.start);
}

/** Wrap characters of a block, over its elements, and put a sign behind them.
 * @param {Element} block @param {number} start @param {number} end
 * @param {string} kind @param {HTMLElement} sign
 */
function mark(block, start, end, kind, sign) {
  const walker = document.createTreeWalker(block, NodeFilter.SHOW_TEXT);
  const parts = [];
  let place = 0;
  while (walker.nextNode()) {
    const node = /** @type {Text} */ (walker.currentNode);
    const from = Math.max(start, place) - place;
    const to = Math.min(end, place + node.length) - place;
    if (from < to && !node.parentElement?.closest(".sign")) parts.push({ node, from, to });
    if (!node.parentElement?.closest(".sign")) place += node.length;
  }
  let last;
  for (const { node, from, to } of parts) {
    const range = document.createRange();
    range.setStart(node, from);
    range.setEnd(node, to);
    last = document.createElement("span");
    last.className = kind;
    range.surroundContents(last);
  }
  last?.after(sign);
}

/** @param {Passage} passage @param {(passage: Passage) => void} jump */
function jumpButton(passage, jump) {
  const element = button("showInDocument", () => jump(passage), "↗", { name: passage.attached.name });
  element.classList.add("sign");
  return element;
}

function missing() {
  const element = note("?", "sign");
  element.setAttribute("role", "img");
  setLabel(element, "notInDocument");
  element.title = text("notInDocument");
  return element;
}
