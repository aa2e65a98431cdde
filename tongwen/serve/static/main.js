// The chat page: holds the conversation on show, asks the server, keeps the parts in step.

import { ApiError, isAbort, readModel, streamChat } from "./api.js";
import { attachKeys, fitHeight } from "./composer.js";
import * as store from "./store.js";
import * as strings from "./strings.js";
import { MessageView, shownVersion } from "./view.js";

const { text } = strings;

/** @template {HTMLElement} T @param {string} id @param {new () => T} kind @returns {T} */
function find(id, kind) {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`no ${kind.name} #${id} in the page`);
  return element;
}

const log = find("log", HTMLElement);
const scroller = find("scroller", HTMLElement);
const box = find("question", HTMLTextAreaElement);
const notice = find("notice", HTMLElement);
const settingsDialog = find("settings", HTMLDialogElement);

const settings = store.readSettings();
let conversations = store.readConversations();
let conversation = store.newConversation();
/** @type {MessageView[]} */
let views = [];
/** @type {import("./api.js").Model | null} */
let model = null;
/** The answer being written; aborting it ends it. @type {AbortController | null} */
let running = null;
let isEditing = false;

// ---------------------------------------------------------------- asking

async function send() {
  const question = box.value.trim();
  if (!question || running) return;
  const before = conversation.messages;
  const kept = isEditing ? before.slice(0, lastQuestionIndex()) : before;
  conversation.messages = [
    ...kept,
    { role: "user", content: question },
    { role: "assistant", versions: [{ content: "" }], shown: 0 },
  ];
  const wasEditing = isEditing;
  setDraft("");
  if (wasEditing) showConversation();
  else appendViews(2);
  await answer(() => {
    conversation.messages = before;
    showConversation();
    setDraft(question, wasEditing);
  });
}

async function regenerate() {
  const last = conversation.messages.at(-1);
  if (last?.role !== "assistant" || running) return;
  const shownBefore = last.shown;
  last.shown = last.versions.push({ content: "" }) - 1;
  await answer(() => {
    last.versions.pop();
    last.shown = shownBefore;
    showConversation();
  });
}

/** Fill the last answer from the server. @param {() => void} undo when not a word of it came */
async function answer(undo) {
  const view = /** @type {MessageView} */ (views.at(-1));
  const message = /** @type {import("./store.js").Answer} */ (view.message);
  const asked = conversation;
  const version = shownVersion(message);
  const controller = new AbortController();
  running = controller;
  hideNotice();
  showBusy();
  const growing = view.grow(followEnd);
  scrollToEnd();
  /** @type {unknown} */
  let failure = null;
  try {
    await stream(asked, version, growing, controller.signal);
  } catch (error) {
    failure = error;
    version.ended = isAbort(error) ? "stopped" : "error";
  }
  running = null;
  growing.finish();
  view.settle();
  if (version.content === "" && failure !== null && asked === conversation) undo();
  showBusy();
  if (failure !== null && !isAbort(failure)) showFailure(failure);
  keep(asked);
  showHistory();
  showGauge();
}

/**
 * @param {store.Conversation} asked
 * @param {store.Version} version
 * @param {import("./markdown.js").GrowingMarkdown} growing
 * @param {AbortSignal} signal
 */
async function stream(asked, version, growing, signal) {
  model ??= await readModel(settings.apiKey);
  showModel();
  const body = {
    model: model.id,
    messages: store.apiMessages(asked.messages.slice(0, -1), settings.systemPrompt),
    ...(settings.temperature !== null && { temperature: settings.temperature }),
    ...(settings.maxTokens !== null && { max_tokens: settings.maxTokens }),
  };
  const started = performance.now();
  for await (const delta of streamChat(body, { key: settings.apiKey, signal })) {
    if (delta.text) {
      version.content += delta.text;
      growing.append(delta.text);
    }
    if (delta.finish) version.ended = delta.finish;
    if (delta.usage) {
      version.tokens = delta.usage.completion_tokens;
      asked.tokens = delta.usage.total_tokens;
    }
  }
  version.seconds = (performance.now() - started) / 1000;
}

function stop() {
  running?.abort();
}

/** @param {unknown} error */
function showFailure(error) {
  const { kind, message } = error instanceof ApiError ? error : new ApiError("server", `${error}`);
  if (kind === "context") showNotice("errorContext", contextNumbers(message));
  else if (kind === "key") showNotice("errorKey", text("errorKeyMore"));
  else if (kind === "network") showNotice("errorNetwork", text("errorNetworkMore"));
  else if (kind === "cut") showNotice("errorCut", "");
  else showNotice("errorServer", message);
}

/** The server names both numbers, the smaller is the limit; without them its own words stand.
 * @param {string} message
 */
function contextNumbers(message) {
  const numbers = [...message.matchAll(/\d[\d,]*/g)].map(([n]) => Number(n.replaceAll(",", "")));
  const limit = model?.contextTokens ?? null;
  const needed = Math.max(...numbers);
  if (limit === null || !numbers.includes(limit) || needed <= limit) return message;
  return text("errorContextNumbers", { needed, limit });
}

// ---------------------------------------------------------------- showing

function showConversation() {
  views = [];
  log.replaceChildren();
  appendViews(conversation.messages.length);
  showBusy();
  showGauge();
  scrollToEnd();
}

/** Add the views of the last `count` messages. @param {number} count */
function appendViews(count) {
  const from = conversation.messages.length - count;
  for (const message of conversation.messages.slice(from)) {
    const view = new MessageView(message, {
      edit: () => setDraft(message.role === "user" ? message.content : "", true),
      regenerate,
      versionShown: () => {
        keep(conversation);
        updateViews();
      },
    });
    views.push(view);
    log.append(view.element);
  }
}

function updateViews() {
  const lastQuestion = lastQuestionIndex();
  views.forEach((view, index) => {
    view.update({
      isLast: index === views.length - 1 || index === lastQuestion,
      isBusy: running !== null,
    });
  });
}

function lastQuestionIndex() {
  return conversation.messages.findLastIndex(({ role }) => role === "user");
}

function showBusy() {
  const isBusy = running !== null;
  log.setAttribute("aria-busy", String(isBusy));
  find("send", HTMLButtonElement).hidden = isBusy;
  find("stop", HTMLButtonElement).hidden = !isBusy;
  find("welcome", HTMLElement).hidden = conversation.messages.length > 0;
  find("export", HTMLElement).hidden = conversation.messages.length === 0;
  updateViews();
}

function showModel() {
  find("model", HTMLElement).textContent = model?.id ?? "";
  showGauge();
}

function showGauge() {
  const limit = model?.contextTokens;
  const used = conversation.tokens ?? 0;
  find("gauge", HTMLElement).hidden = !limit;
  if (!limit) return;
  find("gauge-text", HTMLElement).textContent = text("gauge", { used, limit });
  find("gauge-bar", HTMLProgressElement).value = used / limit;
}

function showHistory() {
  const items = conversations.map((item) => {
    const title = store.titleOf(item);
    const open = document.createElement("button");
    open.type = "button";
    open.textContent = title;
    open.lang = strings.languageOf(title);
    if (item === conversation) open.setAttribute("aria-current", "true");
    open.addEventListener("click", () => show(item));
    const remove = document.createElement("button");
    remove.type = "button";
    remove.className = "quiet icon";
    remove.textContent = "×";
    strings.setLabel(remove, "deleteChat", { title });
    remove.addEventListener("click", () => forget(item));
    const row = document.createElement("li");
    row.append(open, remove);
    return row;
  });
  find("history", HTMLElement).replaceChildren(...items);
}

/** @param {strings.Key} title @param {string} more */
function showNotice(title, more) {
  find("notice-title", HTMLElement).textContent = text(title);
  find("notice-text", HTMLElement).textContent = more;
  notice.hidden = false;
}

function hideNotice() {
  notice.hidden = true;
}

let isAtEnd = true;

function followEnd() {
  if (isAtEnd) scrollToEnd();
}

function scrollToEnd() {
  scroller.scrollTop = scroller.scrollHeight;
}

// ---------------------------------------------------------------- conversations

/** @param {store.Conversation} chosen */
function show(chosen) {
  stop();
  conversation = chosen;
  hideNotice();
  setDraft("");
  toggleSidebar(false);
  showConversation();
  showHistory();
  box.focus();
}

/** Write it down, if there is something in it. @param {store.Conversation} changed */
function keep(changed) {
  if (changed.messages.length === 0) return;
  conversations = [changed, ...conversations.filter((item) => item !== changed)];
  if (!store.writeConversation(changed)) showNotice("errorStorage", text("errorStorageMore"));
}

/** @param {store.Conversation} chosen */
function forget(chosen) {
  if (!window.confirm(text("confirmDelete", { title: store.titleOf(chosen) }))) return;
  store.deleteConversation(chosen);
  conversations = conversations.filter((item) => item !== chosen);
  chosen.messages = []; // an answer still being written must not bring it back
  if (chosen === conversation) show(store.newConversation());
  else showHistory();
}

/** @param {string} draft @param {boolean} [editsLast] it will replace the last question */
function setDraft(draft, editsLast = false) {
  isEditing = editsLast;
  find("editing", HTMLElement).hidden = !editsLast;
  box.value = draft;
  fitHeight(box);
  if (draft) box.focus();
}

function exportMarkdown() {
  const names = { user: text("you"), assistant: model?.id ?? text("model") };
  const page = store.asMarkdown(conversation, names);
  store.saveFile(`tongwen-${conversation.id}.md`, "text/markdown", page);
}

function exportJson() {
  const messages = store.apiMessages(conversation.messages, settings.systemPrompt);
  const page = JSON.stringify({ model: model?.id, messages }, null, 2);
  store.saveFile(`tongwen-${conversation.id}.json`, "application/json", page);
}

// ---------------------------------------------------------------- controls

/** @param {boolean} isOpen on a narrow window, where it covers the conversation */
function toggleSidebar(isOpen) {
  document.body.classList.toggle("sidebar-open", isOpen);
  find("shade", HTMLElement).hidden = !isOpen;
  find("toggle-sidebar", HTMLButtonElement).setAttribute("aria-expanded", String(isOpen));
}

function changeLanguage() {
  settings.language = strings.currentLanguage() === "zh" ? "en" : "zh";
  store.writeSettings(settings);
  showLanguage();
}

function showLanguage() {
  strings.useLanguage(settings.language ?? strings.preferredLanguage());
  hideNotice();
  showHistory();
  showGauge();
  updateViews();
}

function openSettings() {
  find("system-prompt", HTMLTextAreaElement).value = settings.systemPrompt;
  find("temperature", HTMLInputElement).value = String(settings.temperature ?? "");
  find("max-tokens", HTMLInputElement).value = String(settings.maxTokens ?? "");
  find("api-key", HTMLInputElement).value = settings.apiKey;
  toggleSidebar(false);
  settingsDialog.showModal();
}

function takeSettings() {
  const number = (/** @type {string} */ id) => {
    const value = find(id, HTMLInputElement).valueAsNumber;
    return Number.isNaN(value) ? null : value;
  };
  settings.systemPrompt = find("system-prompt", HTMLTextAreaElement).value.trim();
  settings.temperature = number("temperature");
  settings.maxTokens = number("max-tokens");
  settings.apiKey = find("api-key", HTMLInputElement).value.trim();
  store.writeSettings(settings);
}

function escape() {
  if (settingsDialog.open) return; // the key closes it
  stop();
  toggleSidebar(false);
  if (isEditing) setDraft("");
}

/** @param {string} id @param {() => void} act */
function onClick(id, act) {
  find(id, HTMLElement).addEventListener("click", act);
}

function start() {
  onClick("new-chat", () => show(store.newConversation()));
  onClick("open-settings", openSettings);
  onClick("language", changeLanguage);
  onClick("toggle-sidebar", () => toggleSidebar(!document.body.classList.contains("sidebar-open")));
  onClick("shade", () => toggleSidebar(false));
  onClick("stop", stop);
  onClick("cancel-edit", () => setDraft(""));
  onClick("notice-close", hideNotice);
  onClick("export-markdown", exportMarkdown);
  onClick("export-json", exportJson);
  attachKeys({ box, send, escape });
  box.addEventListener("input", () => fitHeight(box));
  find("composer", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  settingsDialog.addEventListener("close", takeSettings);
  scroller.addEventListener("scroll", () => {
    isAtEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 40;
  });
  window.addEventListener("pagehide", () => {
    if (running) keep(conversation);
  });
  showLanguage();
  showConversation();
  box.focus();
  readModel(settings.apiKey).then(
    (found) => {
      model = found;
      showModel();
    },
    (error) => showFailure(error),
  );
}

start();
