// The panel that shows a document, and a passage of it.

import { find, onClick } from "./dom.js";
import { languageOf, text } from "./strings.js";

/** @typedef {import("./conversation.js").Attached} Attached */

const CHUNK_CHARACTERS = 4_000; // the browser lays out only those in sight

/** @type {Attached | null} */
let shown = null;
/** @type {{ node: Text, start: number }[]} */
let chunks = [];

/** @param {{ closed: () => void }} page */
export function attachReader({ closed }) {
  onClick("close-reader", () => {
    closeReader();
    closed();
  });
}

export function isReaderOpen() {
  return !find("reader", HTMLElement).hidden;
}

export function closeReader() {
  find("reader", HTMLElement).hidden = true;
  document.body.classList.remove("reading");
}

/** @param {Attached} attached */
export function openReader(attached) {
  find("reader", HTMLElement).hidden = false;
  document.body.classList.add("reading");
  find("reader-name", HTMLElement).textContent = attached.name;
  showPlace("");
  unmark();
  if (shown !== attached) fill(attached);
  find("close-reader", HTMLButtonElement).focus();
}

/** Show a passage in its document. @param {import("./quotes.js").Passage} passage */
export function showPassage({ attached, start, end }) {
  openReader(attached);
  const range = document.createRange();
  const first = chunks.findLastIndex((chunk) => chunk.start <= start);
  const last = chunks.findLastIndex((chunk) => chunk.start < end);
  range.setStart(chunks[first].node, start - chunks[first].start);
  range.setEnd(chunks[last].node, end - chunks[last].start);
  highlight(range);
  showPlace(text("passageAt", { share: Math.round((100 * start) / attached.text.length) }));
  // Laid out first, measured then: what was out of sight has no true height before.
  chunks[first].node.parentElement?.scrollIntoView();
  requestAnimationFrame(() => {
    const body = find("reader-text", HTMLElement);
    body.scrollTop += range.getBoundingClientRect().top - body.getBoundingClientRect().top - body.clientHeight / 3;
  });
}

/** @param {string} place */
function showPlace(place) {
  find("reader-place", HTMLElement).textContent = place;
}

/** @param {Attached} attached */
function fill(attached) {
  shown = attached;
  chunks = [];
  const body = find("reader-text", HTMLElement);
  body.replaceChildren();
  body.lang = languageOf(attached.text.slice(0, 10_000));
  for (let start = 0; start < attached.text.length; ) {
    const paragraph = attached.text.indexOf("\n", start + CHUNK_CHARACTERS);
    const end = paragraph < 0 ? attached.text.length : paragraph + 1;
    const node = document.createTextNode(attached.text.slice(start, end));
    const element = document.createElement("div");
    element.append(node);
    body.append(element);
    chunks.push({ node, start });
    start = end;
  }
  body.scrollTop = 0;
}

/** @param {Range} range */
function highlight(range) {
  if (CSS.highlights) {
    CSS.highlights.set("passage", new Highlight(range));
    return;
  }
  const selection = window.getSelection();
  selection?.removeAllRanges();
  selection?.addRange(range);
}

function unmark() {
  CSS.highlights?.delete("passage");
}
