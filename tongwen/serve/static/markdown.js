// Answers as Markdown: Chinese-safe emphasis, formulas, coloured code, task lists, no raw HTML, no
// images (the page makes no outside request), and drawing while the answer grows.

import { coloured } from "./code.js";
import { maths } from "./maths.js";
import { cjkFriendly, DOMPurify, MarkdownIt } from "./vendor/markdown-it-15.0.3.js";

// breaks: a model's single newline is meant; as a space it would stand between Chinese characters.
const parser = new MarkdownIt({ html: false, breaks: true, highlight: coloured })
  .use(cjkFriendly)
  .use(maths)
  .disable("image");

parser.core.ruler.push("task_lists", (/** @type {any} */ state) => {
  state.tokens.forEach((/** @type {any} */ token, /** @type {number} */ index) => {
    const task = token.type === "inline" && /^\[([ xX])\] /.exec(token.content);
    if (!task || state.tokens[index - 2]?.type !== "list_item_open") return;
    state.tokens[index - 2].attrJoin("class", task[1] === " " ? "task" : "task done");
    const first = token.children[0];
    first.content = (task[1] === " " ? "☐ " : "☑ ") + first.content.slice(4);
  });
});

parser.core.ruler.push("table_alignment_without_inline_style", (/** @type {any} */ state) => {
  for (const token of state.tokens) {
    const style = token.attrGet("style");
    if (style === null) continue;
    token.attrs = token.attrs.filter((/** @type {string[]} */ [name]) => name !== "style");
    token.attrSet("align", style.replace("text-align:", ""));
  }
});

DOMPurify.addHook("afterSanitizeAttributes", (/** @type {Element} */ node) => {
  if (node.tagName !== "A") return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer");
});

/** @param {string} source @returns {DocumentFragment} */
export function renderMarkdown(source) {
  return DOMPurify.sanitize(parser.render(source), {
    RETURN_DOM_FRAGMENT: true,
    FORBID_TAGS: ["style", "img", "form", "input"],
    FORBID_ATTR: ["style"],
  });
}

/**
 * How many characters at the start of `source` no later text can change: all blocks but the last.
 * Only whole lines count, for half a line may still turn into the next item of a list.
 * @param {string} source
 */
function settledCharacters(source) {
  const lines = source.slice(0, source.lastIndexOf("\n") + 1).split("\n");
  const blocks = parser
    .parse(lines.join("\n"), {})
    .filter((/** @type {any} */ token) => token.level === 0 && token.nesting >= 0 && token.map);
  if (blocks.length < 2) return 0;
  const lastLine = blocks[blocks.length - 1].map[0];
  return lines.slice(0, lastLine).reduce((sum, line) => sum + line.length + 1, 0);
}

/** Draws an answer as it grows: finished blocks are never touched again, so that a long answer
 * costs no more per piece than a short one and a selection in it survives.
 */
export class GrowingMarkdown {
  #waiting = "";
  #isScheduled = false;
  #live = document.createElement("div");

  /** @param {HTMLElement} root @param {() => void} drawn called after every change */
  constructor(root, drawn) {
    this.root = root;
    this.drawn = drawn;
    root.append(this.#live);
  }

  /** @param {string} text */
  append(text) {
    this.#waiting += text;
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    requestAnimationFrame(() => {
      this.#isScheduled = false;
      if (this.#live.isConnected) this.#draw();
    });
  }

  /** The answer is whole. */
  finish() {
    this.#draw();
    this.#live.replaceWith(...this.#live.childNodes);
  }

  #draw() {
    const settled = settledCharacters(this.#waiting);
    if (settled > 0) {
      this.#live.before(renderMarkdown(this.#waiting.slice(0, settled)));
      this.#waiting = this.#waiting.slice(settled);
    }
    this.#live.replaceChildren(renderMarkdown(this.#waiting));
    this.drawn();
  }
}
