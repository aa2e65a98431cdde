// Conversations and documents in the browser's IndexedDB. A conversation is read, united with the
// copy of this tab and written in one transaction, so that no tab loses what another wrote.

import { documentIds, united } from "./conversation.js";

/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {import("./conversation.js").Attached} Attached */

const channel = new BroadcastChannel("tongwen");
/** Conversations that were stored once: one that is gone was deleted. @type {Set<string>} */
const stored = new Set();
/** @type {Promise<IDBDatabase> | null} */
let opened = null;

function open() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open("tongwen", 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("conversations", { keyPath: "id" });
      request.result.createObjectStore("documents", { keyPath: "id" });
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function done(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** @param {IDBTransaction} transaction @returns {Promise<void>} */
function committed(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error);
  });
}

/** @param {IDBTransactionMode} mode @param {("conversations" | "documents")[]} names */
async function begin(mode, ...names) {
  return (await open()).transaction(names, mode);
}

/** All conversations, the newest first. @returns {Promise<Conversation[]>} */
export async function readConversations() {
  const transaction = await begin("readonly", "conversations");
  const found = await done(transaction.objectStore("conversations").getAll());
  for (const { id } of found) stored.add(id);
  return found.sort((a, b) => b.changed - a.changed);
}

/** @param {string} id @returns {Promise<Conversation | undefined>} */
export async function readConversation(id) {
  const transaction = await begin("readonly", "conversations");
  return done(transaction.objectStore("conversations").get(id));
}

/**
 * Store a conversation together with what other tabs stored of it.
 * @param {Conversation} conversation
 * @param {string[]} [removed] messages that are to go: of questions that were never answered
 * @returns {Promise<Conversation | null>} what is stored now; null when another tab deleted it
 */
export async function writeConversation(conversation, removed = []) {
  const transaction = await begin("readwrite", "conversations");
  const store = transaction.objectStore("conversations");
  const before = await done(store.get(conversation.id));
  if (!before && stored.has(conversation.id)) return null;
  const after = before ? united(conversation, before) : { ...conversation };
  after.messages = Object.fromEntries(
    Object.entries(after.messages).filter(([id]) => !removed.includes(id)),
  );
  store.put(after);
  await committed(transaction);
  stored.add(conversation.id);
  channel.postMessage({ changed: conversation.id });
  return after;
}

/** @param {Conversation} conversation with its documents */
export async function deleteConversation(conversation) {
  const transaction = await begin("readwrite", "conversations", "documents");
  transaction.objectStore("conversations").delete(conversation.id);
  for (const id of documentIds(conversation)) transaction.objectStore("documents").delete(id);
  await committed(transaction);
  channel.postMessage({ changed: conversation.id });
}

/** @param {string[]} ids @returns {Promise<Attached[]>} those that are there */
export async function readDocuments(ids) {
  const store = (await begin("readonly", "documents")).objectStore("documents");
  const found = await Promise.all(ids.map((id) => done(store.get(id))));
  return found.filter(Boolean);
}

/** @param {Attached} attached */
export async function writeDocument(attached) {
  const transaction = await begin("readwrite", "documents");
  transaction.objectStore("documents").put(attached);
  await committed(transaction);
}

/** Be told which conversation another tab changed or deleted. @param {(id: string) => void} listener */
export function onChange(listener) {
  channel.addEventListener("message", ({ data }) => listener(data.changed));
}
