// The bundle's only names: Markdown parsing, emphasis that works beside Chinese punctuation, and
// the sanitizer. Everything the page does with them is in static/markdown.js.
export { default as MarkdownIt } from "markdown-it";
export { default as cjkFriendly } from "markdown-it-cjk-friendly";
export { default as DOMPurify } from "dompurify";
