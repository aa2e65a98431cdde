// A conversation as a tree: an edited question and a new answer are further children of the same
// message, so nothing that was written is ever replaced, and two copies of it can be united.

import { languageOf } from "./strings.js";

/**
 * @typedef {import("./api.js").ApiMessage} ApiMessage
 * @typedef {{ id: string, name: string, text: string, tokens: number }} Attached a document
 * @typedef {object} Message
 * @property {string} id
 * @property {string | null} parent the message before it
 * @property {"user" | "assistant"} role
 * @property {string} content
 * @property {number} made milliseconds since 1970
 * @property {number} changed the same, of the last change
 * @property {string[]} [documents] ids of what is attached
 * @property {string} [ended] why the answer ended
 * @property {number} [tokens] of the answer
 * @property {number} [seconds] that it took
 * @property {number} [total] tokens of it with all before it
 * @property {string} [model] that wrote it
 * @property {import("./tools.js").Call[]} [calls] of tools, in the order they were made
 * @property {string} [pair] the same for two answers that are shown side by side
 * @typedef {object} Conversation
 * @property {string} id
 * @property {string} title given by hand, or ""
 * @property {number} titled when it was given
 * @property {number} changed
 * @property {string | null} leaf the last message on show
 * @property {Record<string, Message>} messages
 */

/** An id that no other tab makes; crypto.randomUUID is missing on plain http. */
export function newId() {
  const random = crypto.getRandomValues(new Uint32Array(2));
  return Date.now().toString(36) + random[0].toString(36) + random[1].toString(36);
}

/** @returns {Conversation} */
export function newConversation() {
  return { id: newId(), title: "", titled: 0, changed: Date.now(), leaf: null, messages: {} };
}

/** Add a message below another and show it.
 * @param {Conversation} conversation
 * @param {Pick<Message, "parent" | "role" | "content"> & Partial<Message>} parts
 * @returns {Message}
 */
export function add(conversation, parts) {
  const now = Date.now();
  // Two messages of one millisecond still have an order.
  const made = Math.max(now, ...Object.values(conversation.messages).map(({ made }) => made + 1));
  const message = { id: newId(), made, changed: now, ...parts };
  conversation.messages[message.id] = message;
  conversation.leaf = message.id;
  return message;
}

/** The messages on show, from the first to the leaf. @param {Conversation} conversation */
export function pathOf(conversation) {
  /** @type {Message[]} */
  const path = [];
  let next = conversation.leaf;
  while (next !== null && conversation.messages[next]) {
    path.unshift(conversation.messages[next]);
    next = path[0].parent;
  }
  return path;
}

/** The message and its alternatives, the oldest first.
 * @param {Conversation} conversation @param {Message} message
 */
export function alternatives(conversation, message) {
  return childrenOf(conversation, message.parent).filter(({ role }) => role === message.role);
}

/** Show a message and what was last written below it.
 * @param {Conversation} conversation @param {Message} message
 */
export function showBranch(conversation, message) {
  let leaf = message;
  for (;;) {
    const below = childrenOf(conversation, leaf.id).at(-1);
    if (!below) break;
    leaf = below;
  }
  conversation.leaf = leaf.id;
}

/** @param {Conversation} conversation @param {string | null} parent */
function childrenOf(conversation, parent) {
  return Object.values(conversation.messages)
    .filter((message) => message.parent === parent)
    .sort((a, b) => a.made - b.made);
}

/** Both copies in one: of a message that is in both the one that changed last.
 * @param {Conversation} mine decides what is on show
 * @param {Conversation} other
 * @returns {Conversation}
 */
export function united(mine, other) {
  const messages = { ...other.messages };
  for (const message of Object.values(mine.messages)) {
    const theirs = messages[message.id];
    if (!theirs || theirs.changed <= message.changed) messages[message.id] = message;
  }
  const { title, titled } = mine.titled >= other.titled ? mine : other;
  return { ...mine, title, titled, changed: Math.max(mine.changed, other.changed), messages };
}

/** The name given by hand, or the first question, shortened. @param {Conversation} conversation */
export function titleOf(conversation) {
  if (conversation.title) return conversation.title;
  const first = pathOf(conversation)[0] ?? childrenOf(conversation, null)[0];
  return first ? first.content.replace(/\s+/g, " ").slice(0, 60) : "";
}

/** Whether the words are in its title or any of its messages.
 * @param {Conversation} conversation @param {string} words
 */
export function mentions(conversation, words) {
  const wanted = words.toLowerCase();
  return [titleOf(conversation), ...Object.values(conversation.messages).map((m) => m.content)].some(
    (content) => content.toLowerCase().includes(wanted),
  );
}

/** @param {Conversation} conversation @returns {string[]} */
export function documentIds(conversation) {
  return [...new Set(Object.values(conversation.messages).flatMap((m) => m.documents ?? []))];
}

/** What the model is sent. A document comes before its question and nothing that changes from turn
 * to turn comes before a document, so that a server may keep what it has read.
 * @param {Message[]} path
 * @param {string} systemPrompt
 * @param {Map<string, Attached>} documents
 * @returns {ApiMessage[]}
 */
export function apiMessages(path, systemPrompt, documents) {
  const system = systemPrompt ? [{ role: /** @type {const} */ ("system"), content: systemPrompt }] : [];
  return [...system, ...path.flatMap((message) =>
    message.calls
      ? withCalls(message, message.calls)
      : { role: message.role, content: sentText(message.content, attachedTo(message, documents)) },
  )];
}

/** What an answer said after its last call. @param {Message} message */
export function saidLast({ content, calls }) {
  return content.slice(calls?.at(-1)?.at ?? 0).trimStart();
}

/** An answer with calls as the turns it was made of: texts with calls, results, and the last text.
 * @param {Message} message @param {import("./tools.js").Call[]} calls
 * @returns {ApiMessage[]}
 */
function withCalls(message, calls) {
  /** @type {ApiMessage[]} */
  const turns = [];
  let from = 0;
  const ended = calls.filter(({ result }) => result !== null);
  for (const at of new Set(ended.map((call) => call.at))) {
    const made = ended.filter((call) => call.at === at);
    turns.push({
      role: "assistant",
      content: message.content.slice(from, at).trim(),
      tool_calls: made.map(({ id, name, arguments: given }) =>
        ({ id, type: "function", function: { name, arguments: given } })),
    });
    turns.push(...made.map(({ id, result }) =>
      ({ role: /** @type {const} */ ("tool"), tool_call_id: id, content: result ?? "" })));
    from = at;
  }
  const last = message.content.slice(from).trimStart();
  return last ? [...turns, { role: "assistant", content: last }] : turns;
}

/** @param {Message} message @param {Map<string, Attached>} documents @returns {Attached[]} */
export function attachedTo(message, documents) {
  return (message.documents ?? []).flatMap((id) => documents.get(id) ?? []);
}

/** A question with its documents, as the model reads it.
 * @param {string} question @param {Attached[]} attached
 */
export function sentText(question, attached) {
  if (attached.length === 0) return question;
  const parts = attached.map(({ name, text }) => `<document name="${name}">\n${text}\n</document>`);
  const rule =
    languageOf(question) === "zh-Hans"
      ? "根据文档回答，并用“”逐字引用所依据的原句。"
      : "Answer from the document, and quote the sentences that the answer rests on word for word between “ and ”.";
  return [...parts, rule, question].join("\n\n");
}

/** The branch on show as a Markdown page.
 * @param {Conversation} conversation
 * @param {{ user: string, assistant: string }} names
 * @param {Map<string, Attached>} documents
 */
export function asMarkdown(conversation, names, documents) {
  const parts = pathOf(conversation).map((message) => {
    const files = attachedTo(message, documents).map(({ name }) => `> ${name}\n\n`).join("");
    const who = message.role === "user" ? names.user : (message.model ?? names.assistant);
    const calls = (message.calls ?? [])
      .map((call) => `> ${call.name}(${call.arguments})\n${quoted(call.result ?? "")}\n\n`)
      .join("");
    return `## ${who}\n\n${files}${calls}${message.content}\n`;
  });
  return [`# ${titleOf(conversation)}\n`, ...parts].join("\n");
}

/** @param {string} result of a tool */
function quoted(result) {
  return result.split("\n").map((line) => `> ${line}`).join("\n");
}
