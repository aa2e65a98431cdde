// How much of the context window the conversation and the draft take.

import { countTokens } from "./api.js";
import { attachedTo } from "./conversation.js";
import { find } from "./dom.js";
import { text } from "./strings.js";

/** @typedef {import("./conversation.js").Message} Message */
/** @typedef {import("./conversation.js").Attached} Attached */

const PAUSE_MILLISECONDS = 300; // in typing, before the draft is counted

/** @type {ReturnType<typeof setTimeout> | undefined} */
let waiting;
/** Counts of texts, by the text. @type {Map<string, number>} */
const counts = new Map();

/**
 * Show the tokens of the path, of the attached documents and of the draft.
 * @param {object} state
 * @param {number | null} state.limit of the model
 * @param {Message[]} state.path
 * @param {Map<string, Attached>} state.documents of the path
 * @param {Attached[]} state.attached to the draft
 * @param {string} state.draft
 * @param {string} state.key
 */
export function showGauge(state) {
  const { limit } = state;
  find("gauge", HTMLElement).hidden = !limit;
  clearTimeout(waiting);
  if (!limit) return;
  const unknown = uncounted(state);
  draw(used(state), limit, unknown.length > 0);
  if (unknown.length === 0) return;
  waiting = setTimeout(async () => {
    for (const content of unknown) {
      const tokens = await countTokens({ prompt: content, parse_special: false }, state.key).catch(() => null);
      if (tokens === null) return; // the server refuses or has gone: asking it will say so
      counts.set(content, tokens);
    }
    if (counts.size > 1_000) counts.clear();
    draw(used(state), limit, false);
  }, PAUSE_MILLISECONDS);
}

/** @typedef {Parameters<typeof showGauge>[0]} State */

/** Texts behind the last answer whose total is known. @param {State} state */
function later({ path, draft }) {
  const last = path.findLastIndex(({ total }) => total);
  const texts = path.slice(last + 1).flatMap(({ content, calls }) => [
    content,
    ...(calls ?? []).flatMap((call) => [call.arguments, call.result ?? ""]),
  ]);
  return { last, texts: [...texts, draft].filter(Boolean) };
}

/** @param {State} state */
function uncounted(state) {
  return later(state).texts.filter((content) => !counts.has(content));
}

/** @param {State} state */
function used(state) {
  const { last, texts } = later(state);
  const documents = [
    ...state.attached,
    ...state.path.slice(last + 1).flatMap((message) => attachedTo(message, state.documents)),
  ];
  const base = state.path[last]?.total ?? 0;
  const further = texts.map((content) => counts.get(content) ?? 0);
  return [base, ...further, ...documents.map(({ tokens }) => tokens)].reduce((sum, n) => sum + n, 0);
}

/** @param {number} tokens @param {number} limit @param {boolean} isCounting */
function draw(tokens, limit, isCounting) {
  const words = find("gauge-text", HTMLElement);
  words.textContent = text("gauge", { used: tokens, limit });
  find("gauge", HTMLElement).classList.toggle("over", tokens >= limit);
  find("gauge", HTMLElement).setAttribute("aria-busy", String(isCounting));
  find("gauge-bar", HTMLProgressElement).value = Math.min(1, tokens / limit);
}
