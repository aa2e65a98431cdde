// Conversations and settings in the browser's local storage: one key a conversation, so that
// two windows do not overwrite each other.

/**
 * @typedef {import("./api.js").ApiMessage} ApiMessage
 * @typedef {{ content: string, ended?: string, tokens?: number, seconds?: number }} Version
 * @typedef {{ role: "user", content: string }} Question
 * @typedef {{ role: "assistant", versions: Version[], shown: number }} Answer
 * @typedef {{ id: string, changed: number, messages: (Question | Answer)[], tokens: number | null }} Conversation
 * @typedef {{ language: "en" | "zh" | null, systemPrompt: string, temperature: number | null,
 *   maxTokens: number | null, apiKey: string }} Settings
 */

const CHAT = "tongwen.chat.";
const SETTINGS = "tongwen.settings";

/** @returns {Conversation} */
export function newConversation() {
  // crypto.randomUUID is missing on plain http.
  const id = Date.now().toString(36) + Math.random().toString(36).slice(2, 8);
  return { id, changed: Date.now(), messages: [], tokens: null };
}

/** All conversations, the newest first. @returns {Conversation[]} */
export function readConversations() {
  const found = [];
  for (const key of Object.keys(localStorage)) {
    const value = key.startsWith(CHAT) ? parsed(localStorage.getItem(key)) : null;
    if (Array.isArray(value?.messages)) found.push(value);
  }
  return found.sort((a, b) => b.changed - a.changed);
}

/** @param {Conversation} conversation @returns {boolean} whether there was room for it */
export function writeConversation(conversation) {
  conversation.changed = Date.now();
  return write(CHAT + conversation.id, conversation);
}

/** @param {Conversation} conversation */
export function deleteConversation(conversation) {
  localStorage.removeItem(CHAT + conversation.id);
}

/** @returns {Settings} */
export function readSettings() {
  const defaults = { language: null, systemPrompt: "", temperature: null, maxTokens: null, apiKey: "" };
  return { ...defaults, ...parsed(localStorage.getItem(SETTINGS)) };
}

/** @param {Settings} settings */
export function writeSettings(settings) {
  return write(SETTINGS, settings);
}

/** The first question, shortened. @param {Conversation} conversation */
export function titleOf(conversation) {
  const first = conversation.messages[0];
  return first?.role === "user" ? first.content.replace(/\s+/g, " ").slice(0, 60) : "";
}

/** What the API is sent and what the JSON export holds: the versions on show.
 * @param {(Question | Answer)[]} messages
 * @param {string} systemPrompt
 * @returns {ApiMessage[]}
 */
export function apiMessages(messages, systemPrompt) {
  const system = systemPrompt ? [{ role: /** @type {const} */ ("system"), content: systemPrompt }] : [];
  const said = messages.map((message) => ({
    role: message.role,
    content: message.role === "user" ? message.content : message.versions[message.shown].content,
  }));
  return [...system, ...said];
}

/** The conversation as a Markdown page.
 * @param {Conversation} conversation
 * @param {{ user: string, assistant: string }} names
 */
export function asMarkdown(conversation, names) {
  const parts = apiMessages(conversation.messages, "").map(
    ({ role, content }) => `## ${role === "user" ? names.user : names.assistant}\n\n${content}\n`,
  );
  return [`# ${titleOf(conversation)}\n`, ...parts].join("\n");
}

/** Let the browser save a file. @param {string} name @param {string} type @param {string} content */
export function saveFile(name, type, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** @param {string} key @param {unknown} value */
function write(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
    return true;
  } catch {
    return false; // over the browser's quota
  }
}

/** @param {string | null} json */
function parsed(json) {
  try {
    return JSON.parse(json ?? "null");
  } catch {
    return null;
  }
}
