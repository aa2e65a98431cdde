// Formulas: $...$, $$...$$, \(...\) and \[...\] become MathML, which browsers draw themselves.

import { temml } from "./vendor/temml-0.13.5.js";

/** @param {string} tex @param {boolean} isBlock */
function mathMl(tex, isBlock) {
  // A formula with an error is shown as it was written, in the colour of errors.
  const element = document.createElement("span");
  temml.render(tex, element, { displayMode: isBlock, throwOnError: false, maxSize: [30, 30] });
  // The page's policy allows no inline style, and says so on the console for each.
  for (const styled of element.querySelectorAll("[style]")) styled.removeAttribute("style");
  return element.innerHTML;
}

/** The formula that opens at `start`, and where it ends.
 * As in Pandoc a dollar opens before a character and closes behind one and before no digit, so that
 * prices are no formulas.
 * @param {string} source @param {number} start
 * @returns {{ tex: string, end: number, isBlock: boolean } | null}
 */
function formulaAt(source, start) {
  for (const [open, close, isBlock] of /** @type {const} */ ([
    ["$$", "$$", true], ["\\[", "\\]", true], ["\\(", "\\)", false], ["$", "$", false],
  ])) {
    if (!source.startsWith(open, start)) continue;
    const from = start + open.length;
    let at = source.indexOf(close, from);
    while (open[0] === "$" && at > 0 && source[at - 1] === "\\") at = source.indexOf(close, at + 1);
    if (at <= from) return null;
    const tex = source.slice(from, at);
    if (open === "$" && (/^\s|\s$|\n\n|`|\\[()]/.test(tex) || /\d/.test(source[at + 1] ?? ""))) return null;
    return { tex, end: at + close.length, isBlock };
  }
  return null;
}

/** A plugin of markdown-it. @param {any} parser */
export function maths(parser) {
  parser.inline.ruler.before("escape", "maths", (/** @type {any} */ state, /** @type {boolean} */ silent) => {
    const found = formulaAt(state.src, state.pos);
    if (!found || found.end > state.posMax) return false;
    if (!silent) Object.assign(state.push("maths", "math", 0), { content: found.tex, block: found.isBlock });
    state.pos = found.end;
    return true;
  });
  // A formula over several lines, in which markdown-it would see lists and headings.
  parser.block.ruler.before(
    "fence",
    "maths",
    (/** @type {any} */ state, /** @type {number} */ line, /** @type {number} */ last, /** @type {boolean} */ silent) => {
      const begin = state.bMarks[line] + state.tShift[line];
      const open = state.src.slice(begin, begin + 2);
      if (open !== "$$" && open !== "\\[") return false;
      const close = open === "$$" ? "$$" : "\\]";
      const at = state.src.indexOf(close, begin + 2);
      let end = line;
      while (end < last && state.eMarks[end] < at) end += 1;
      if (at < 0 || end >= last || state.src.slice(at + 2, state.eMarks[end]).trim()) return false;
      if (silent) return true;
      const token = state.push("maths", "math", 0);
      Object.assign(token, { content: state.src.slice(begin + 2, at), block: true, map: [line, end + 1] });
      state.line = end + 1;
      return true;
    },
    { alt: ["paragraph", "blockquote", "list"] },
  );
  parser.renderer.rules.maths = (/** @type {any[]} */ tokens, /** @type {number} */ index) =>
    mathMl(tokens[index].content, tokens[index].block);
}
