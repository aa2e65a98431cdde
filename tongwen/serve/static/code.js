// The colours of code.

import { hljs } from "./vendor/highlight-11.12.0.js";

const MOST_CHARACTERS = 50_000; // a whole log is not worth the seconds

/** HTML of the code, or "" for a language that is not known, which markdown-it then shows plain.
 * @param {string} code @param {string} language
 */
export function coloured(code, language) {
  if (!hljs.getLanguage(language) || code.length > MOST_CHARACTERS) return "";
  return hljs.highlight(code, { language, ignoreIllegals: true }).value;
}
