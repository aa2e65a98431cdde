// Conversations to files and back.

import { add, newConversation, newId, pathOf } from "./conversation.js";

/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {import("./conversation.js").Attached} Attached */

/** Everything of a conversation: the branch on show as other programs read it, and all branches.
 * @param {Conversation} conversation
 * @param {{ model: string | undefined, messages: unknown[], documents: Attached[] }} parts
 */
export function asJson(conversation, { model, messages, documents }) {
  return JSON.stringify({ model, messages, conversation, documents }, null, 2);
}

/**
 * A conversation from such a file, or from any with `messages` of a role and a content. It gets ids
 * of its own, so that it replaces nothing.
 * @param {string} json
 * @returns {{ conversation: Conversation, documents: Attached[] } | null} null: it is none
 */
export function imported(json) {
  let value;
  try {
    value = JSON.parse(json);
  } catch {
    return null;
  }
  const whole = value?.conversation;
  if (isTree(whole)) {
    // Every id in the file gets a new one: messages, documents and pairs.
    const renamed = /** @type {Map<string, string>} */ (new Map());
    const rename = (/** @type {string} */ id) => {
      if (!renamed.has(id)) renamed.set(id, newId());
      return renamed.get(id);
    };
    const copy = JSON.parse(JSON.stringify({ ...whole, id: newId(), changed: Date.now() }));
    copy.leaf = copy.leaf && rename(copy.leaf);
    const messages = Object.values(copy.messages).map((/** @type {any} */ message) => ({
      ...message,
      id: rename(message.id),
      parent: message.parent && rename(message.parent),
      ...(message.pair && { pair: rename(message.pair) }),
      ...(message.documents && { documents: message.documents.map(rename) }),
    }));
    copy.messages = Object.fromEntries(messages.map((message) => [message.id, message]));
    const documents = Array.isArray(value.documents) ? value.documents.filter(isDocument) : [];
    return {
      conversation: copy,
      documents: documents.map((/** @type {Attached} */ found) => ({ ...found, id: rename(found.id) ?? "" })),
    };
  }
  const conversation = ofMessages(value?.messages);
  return conversation && { conversation, documents: [] };
}

/** @param {any} value */
function isTree(value) {
  const messages = value?.messages;
  return (
    typeof messages === "object" &&
    typeof value.title === "string" &&
    Object.values(messages ?? {}).every(
      (/** @type {any} */ message) => isMessage(message) && (message.parent === null || message.parent in messages),
    )
  );
}

/** @param {any} message */
function isMessage(message) {
  const calls = message?.calls ?? [];
  return (
    ["user", "assistant"].includes(message?.role) &&
    typeof message.content === "string" &&
    Array.isArray(calls) &&
    calls.every(isCall)
  );
}

/** @param {any} call */
function isCall(call) {
  const texts = [call?.id, call?.name, call?.arguments].every((part) => typeof part === "string");
  return texts && Number.isInteger(call.at) && (call.result === null || typeof call.result === "string");
}

/** @param {any} value */
function isDocument(value) {
  return [value?.id, value?.name, value?.text].every((part) => typeof part === "string");
}

/** @param {any} messages @returns {Conversation | null} */
function ofMessages(messages) {
  if (!Array.isArray(messages)) return null;
  const conversation = newConversation();
  for (const message of messages) {
    if (message?.role === "system") continue; // the system prompt is a setting
    // Answers of the page's first version had several texts, one of which was on show.
    const texts = message?.versions?.map((/** @type {any} */ { content }) => content) ?? [message?.content];
    const parent = conversation.leaf;
    const added = [];
    for (const content of texts) {
      if (!isMessage({ role: message?.role, content })) return null;
      added.push(add(conversation, { parent, role: message.role, content, ended: "stop" }));
    }
    conversation.leaf = added[message.shown ?? 0]?.id ?? conversation.leaf;
  }
  return pathOf(conversation).length > 0 ? conversation : null;
}

const FIRST_VERSION = "tongwen.chat.";

/** Conversations that the page's first version kept in the local storage.
 * @returns {{ conversation: Conversation, forget: () => void }[]}
 */
export function ofFirstVersion() {
  const keys = Object.keys(localStorage).filter((key) => key.startsWith(FIRST_VERSION));
  return keys.flatMap((key) => {
    const found = imported(localStorage.getItem(key) ?? "");
    const id = key.slice(FIRST_VERSION.length);
    return found ? [{ conversation: { ...found.conversation, id }, forget: () => localStorage.removeItem(key) }] : [];
  });
}

/** Let the browser save a file. @param {string} name @param {string} type @param {string} content */
export function saveFile(name, type, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
