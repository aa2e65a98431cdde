// The chat page: holds the conversation on show, asks the server, keeps the parts in step.

import { attachAbout, showFacts } from "./about.js";
import { isAbort, readFacts, readModel } from "./api.js";
import { Attachments } from "./attachments.js";
import { attachKeys, fitHeight } from "./composer.js";
import * as tree from "./conversation.js";
import * as database from "./database.js";
import { find, onClick } from "./dom.js";
import { writeAnswer } from "./exchange.js";
import * as failure from "./failure.js";
import { showGauge } from "./gauge.js";
import { showHistory } from "./history.js";
import { readPlace, writePlace } from "./place.js";
import { attachReader, closeReader, isReaderOpen, openReader, showPassage } from "./reader.js";
import { PRESETS, attachDialog, readSettings, samplingFields, showTheme, writeSettings } from "./settings.js";
import * as strings from "./strings.js";
import { findServers, toolFields } from "./tools.js";
import { asJson, imported, ofFirstVersion, saveFile } from "./transfer.js";
import { MessageView, sideBySide } from "./view.js";

/** @typedef {tree.Conversation} Conversation */
/** @typedef {tree.Message} Message */
/** @typedef {tree.Attached} Attached */

const { text } = strings;
const KEEP_MILLISECONDS = 1_500; // how often an answer is stored while it is written

const log = find("log", HTMLElement);
const scroller = find("scroller", HTMLElement);
const box = find("question", HTMLTextAreaElement);
const notice = find("notice", HTMLElement);

const settings = readSettings();
/** @type {Conversation[]} */
let conversations = [];
let conversation = tree.newConversation();
/** Of the conversation on show, by id. @type {Map<string, Attached>} */
const documents = new Map();
/** By the id of the message. @type {Map<string, MessageView>} */
const views = new Map();
/** @type {import("./api.js").Model | null} */
let model = null;
/** @type {import("./api.js").Facts | null} */
let facts = null;
/** Answers being written; aborting one ends it. @type {Map<string, AbortController>} */
const running = new Map();
/** What was asked last, until all of it is stored. @type {Promise<unknown>} */
let asking = Promise.resolve();
/** Documents of the conversation on show, until they are read. @type {Promise<void>} */
let opening = Promise.resolve();
/** What the text in the box will be an alternative to. @type {Message | null} */
let editing = null;
/** What is stored has been read; nothing can be asked before. */
let isRestored = false;
/** A conversation was opened by hand, so the page does not return to where this tab was. */
let isPlaceChosen = false;

const attachments = new Attachments({
  key: () => settings.apiKey,
  open: openReader,
  changed: () => updateGauge(),
  failed: showFailure,
});

// ---------------------------------------------------------------- asking

/** Wait for what the page is still reading or storing; whether something can be asked then. */
async function isFree() {
  await ready;
  await opening;
  const isStopping = [...running.values()].every(({ signal }) => signal.aborted);
  if (isStopping) await asking;
  return running.size === 0;
}

async function send() {
  if (!(await isFree())) return;
  const content = box.value.trim();
  if (!content || attachments.isReading) return;
  const replaced = editing;
  if (replaced?.role === "assistant") {
    tree.add(conversation, { parent: replaced.parent, role: "assistant", content, ended: "stop" });
    setDraft("");
    showConversation();
    keep(conversation);
    return;
  }
  const attached = attachments.documents;
  for (const one of attached) documents.set(one.id, one);
  const asked = conversation;
  const before = asked.leaf;
  const question = tree.add(asked, {
    parent: replaced ? replaced.parent : before,
    role: "user",
    content,
    ...(attached.length > 0 && { documents: attached.map(({ id }) => id) }),
  });
  setDraft("");
  asking = answer(question).then(async (isAnswered) => {
    if (isAnswered) return;
    await remove([question], before, asked);
    if (asked === conversation && !box.value) setDraft(content, replaced, attached);
  });
}

/** @param {Message} message */
async function regenerate(message) {
  if ((await isFree()) && message.id in conversation.messages) {
    asking = answer(conversation.messages[message.parent ?? ""]);
  }
}

/** @param {Message} message */
async function resume(message) {
  if ((await isFree()) && message.id in conversation.messages) asking = write(conversation, [message]);
}

/** A new answer to a question, or two; whether a word of them came. @param {Message} question */
async function answer(question) {
  const asked = conversation;
  const before = asked.leaf;
  const pair = settings.compares ? { pair: tree.newId() } : {};
  const fresh = () => tree.add(asked, { parent: question.id, role: "assistant", content: "", ...pair });
  const answers = settings.compares ? [fresh(), fresh()] : [fresh()];
  asked.leaf = answers[0].id;
  showConversation();
  scrollToEnd();
  keep(asked);
  await write(asked, answers);
  const empty = answers.filter(({ content, ended }) => content === "" && ended !== "stop" && ended !== "length");
  if (empty.length === 0 || asked !== conversation) return true; // where nobody looks nothing is taken back
  const left = answers.find((message) => !empty.includes(message));
  if (left) delete left.pair; // its partner is not there
  await remove(empty, left?.id ?? before, asked);
  return left !== undefined;
}

/** Take messages back that came to nothing.
 * @param {Message[]} messages @param {string | null} leaf to be shown @param {Conversation} [from]
 */
async function remove(messages, leaf, from = conversation) {
  for (const { id } of messages) delete from.messages[id];
  from.leaf = leaf;
  if (from === conversation) showConversation();
  await keep(from, messages.map(({ id }) => id));
}

/** Have the server write into answers, all at once.
 * @param {Conversation} asked
 * @param {Message[]} answers one, or two of which the second is the one to compare with
 */
async function write(asked, answers) {
  hideNotice();
  for (const { id } of answers) running.set(id, new AbortController());
  showBusy();
  const failures = await Promise.all(
    answers.map((message, number) =>
      writeAnswer(
        message,
        /** @type {MessageView} */ (views.get(message.id)),
        () => prepare(asked, message, number === 1),
        {
          signal: /** @type {AbortController} */ (running.get(message.id)).signal,
          drawn: followEnd,
          written: () => keepSoon(asked),
        },
      ),
    ),
  );
  await keep(asked); // an answer that is shown as ended survives a reload
  running.clear();
  showBusy();
  const wrong = failures.find((found) => found !== null && !isAbort(found));
  if (wrong) showFailure(wrong);
  updateGauge();
}

/** What the server is asked for an answer; a text that is there already is continued.
 * @param {Conversation} asked @param {Message} message @param {boolean} isSecond
 */
async function prepare(asked, message, isSecond) {
  const server = isSecond && settings.secondUrl ? settings.secondUrl.replace(/\/*$/, "/") : "";
  const key = server ? "" : settings.apiKey; // a key is for the server that it was entered for
  let asking = server ? await readModel(key, server) : model;
  if (asking === null) {
    asking = model = await readModel(key);
    showModel();
  }
  const leaf = message.content || message.calls ? message.id : message.parent;
  const sampling = isSecond ? PRESETS[settings.secondPreset] : settings;
  return {
    model: asking.id,
    server,
    key,
    messages: tree.apiMessages(tree.pathOf({ ...asked, leaf }), settings.systemPrompt, documents),
    body: {
      ...samplingFields(sampling),
      ...(settings.maxTokens !== null && { max_tokens: settings.maxTokens }),
      ...(!server && (await toolFields(settings))),
      ...(tree.saidLast(message) && { continue_final_message: true, add_generation_prompt: false }),
    },
  };
}

function stop() {
  for (const controller of running.values()) controller.abort();
}

/** @param {unknown} error */
function showFailure(error) {
  showNotice(...failure.words(error, model?.contextTokens ?? null));
}

// ---------------------------------------------------------------- showing

/** @type {import("./view.js").Actions} */
const actions = {
  edit: (message) => setDraft(message.content, message, tree.attachedTo(message, documents)),
  regenerate,
  resume,
  choose: (message) => {
    if (running.size > 0) return;
    tree.showBranch(conversation, message);
    showConversation();
    keep(conversation);
  },
  open: openReader,
  jump: showPassage,
};

function showConversation() {
  const top = scroller.scrollTop;
  const growing = new Map([...views].filter(([id]) => running.has(id)));
  views.clear();
  log.replaceChildren();
  const path = tree.pathOf(conversation);
  path.forEach((message, place) => {
    const partner = message.pair
      ? tree.alternatives(conversation, message).filter(({ pair }) => pair === message.pair)
      : [message];
    const quotable = path.slice(0, place).flatMap((earlier) => tree.attachedTo(earlier, documents));
    const made = partner.map((one) => {
      // What is being written goes on in the view where it began.
      const view =
        growing.get(one.id) ??
        new MessageView(one, { attached: tree.attachedTo(one, documents), quotable }, actions);
      views.set(one.id, view);
      return view;
    });
    log.append(made.length > 1 ? sideBySide(made) : made[0].element);
  });
  showBusy();
  updateGauge();
  scroller.scrollTop = top;
}

function updateViews() {
  const path = new Set(tree.pathOf(conversation));
  for (const view of views.values()) {
    view.update({
      isBusy: running.size > 0,
      isWritten: running.has(view.message.id),
      isOnPath: path.has(view.message),
      alternatives: tree.alternatives(conversation, view.message),
    });
  }
}

function showBusy() {
  const isBusy = running.size > 0;
  const isEmpty = conversation.leaf === null;
  log.setAttribute("aria-busy", String(isBusy || !isRestored));
  find("send", HTMLButtonElement).hidden = isBusy;
  find("stop", HTMLButtonElement).hidden = !isBusy;
  find("welcome", HTMLElement).hidden = !isEmpty || !isRestored;
  find("export", HTMLElement).hidden = isEmpty;
  updateViews();
}

function showModel() {
  const name = model?.id ?? "";
  find("model", HTMLElement).textContent = name;
  strings.setLabel(find("model", HTMLElement), "aboutModel", { name });
  updateGauge();
}

function updateGauge() {
  showGauge({
    limit: model?.contextTokens ?? null,
    path: tree.pathOf(conversation).slice(0, editing ? tree.pathOf(conversation).indexOf(editing) : undefined),
    documents,
    attached: attachments.documents,
    draft: box.value.trim(),
    key: settings.apiKey,
  });
}

function updateHistory() {
  showHistory(conversations, conversation, { open, rename, remove: forget });
}

/** @param {string} title @param {string} more */
function showNotice(title, more) {
  find("notice-title", HTMLElement).textContent = title;
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

/** Show a conversation from its newest message on. @param {Conversation} chosen */
async function open(chosen) {
  isPlaceChosen = true;
  if (chosen === conversation && running.size > 0) return;
  stop();
  const last = Object.values(chosen.messages).sort((a, b) => b.made - a.made)[0];
  if (chosen === conversation && last) tree.showBranch(chosen, last);
  conversation = chosen;
  hideNotice();
  closeReader();
  setDraft("");
  toggleSidebar(false);
  showConversation();
  scrollToEnd();
  updateHistory();
  box.focus();
  opening = readDocumentsOf(chosen).catch(() => showNotice(text("errorStorage"), text("errorStorageMore")));
  await opening;
  if (chosen !== conversation) return;
  showConversation(); // with the documents
  scrollToEnd();
}

/** @param {Conversation} chosen */
async function readDocumentsOf(chosen) {
  const missing = tree.documentIds(chosen).filter((id) => !documents.has(id));
  if (missing.length === 0) return;
  for (const one of await database.readDocuments(missing)) documents.set(one.id, one);
}

/** @type {Promise<void>} */
let keeping = Promise.resolve();
/** @type {ReturnType<typeof setTimeout> | undefined} */
let keepingSoon;

/** Store it, if there is something in it, with what other tabs added.
 * @param {Conversation} changed @param {string[]} [removed] ids of messages taken back
 */
function keep(changed, removed = []) {
  clearTimeout(keepingSoon);
  keepingSoon = undefined;
  changed.changed = Date.now();
  keeping = keeping.then(() => store(changed, removed));
  return keeping;
}

/** @param {Conversation} changed */
function keepSoon(changed) {
  keepingSoon ??= setTimeout(() => keep(changed), KEEP_MILLISECONDS);
}

/** @param {Conversation} changed @param {string[]} removed */
async function store(changed, removed) {
  if (Object.keys(changed.messages).length === 0) {
    conversations = conversations.filter((item) => item !== changed);
    if (removed.length > 0) await database.deleteConversation(changed).catch(() => {});
    updateHistory();
    return;
  }
  try {
    const stored = await database.writeConversation(changed, removed);
    if (stored === null) conversations = conversations.filter((item) => item !== changed);
    else {
      takeOver(changed, stored);
      conversations = [changed, ...conversations.filter((item) => item.id !== changed.id)];
    }
  } catch {
    conversations = [changed, ...conversations.filter((item) => item !== changed)];
    showNotice(text("errorStorage"), text("errorStorageMore"));
  }
  updateHistory();
}

/** Take what is newer in a stored copy into the one that the page holds; whether there was any.
 * @param {Conversation} mine @param {Conversation} theirs
 */
function takeOver(mine, theirs) {
  let isNews = false;
  for (const [id, message] of Object.entries(theirs.messages)) {
    const own = mine.messages[id];
    if (own && (own.changed >= message.changed || running.has(id))) continue;
    if (own) Object.assign(own, message);
    else mine.messages[id] = message;
    isNews = true;
  }
  if (theirs.titled > mine.titled) Object.assign(mine, { title: theirs.title, titled: theirs.titled });
  return isNews;
}

/** Another tab has stored or deleted a conversation. @param {string} id */
async function takeNews(id) {
  const theirs = await database.readConversation(id);
  const mine = conversations.find((item) => item.id === id);
  if (!theirs) {
    conversations = conversations.filter((item) => item.id !== id);
    if (mine === conversation && running.size === 0) {
      await open(tree.newConversation());
      showNotice(text("deletedElsewhere"), "");
    }
  } else if (!mine) {
    conversations = [theirs, ...conversations];
  } else if (takeOver(mine, theirs) && mine === conversation && running.size === 0) {
    await readDocumentsOf(mine);
    showConversation();
    showNotice(text("changedElsewhere"), text("changedElsewhereMore"));
  }
  updateHistory();
}

/** @param {Conversation} chosen @param {string} title */
function rename(chosen, title) {
  if (title && title !== tree.titleOf(chosen)) {
    Object.assign(chosen, { title, titled: Date.now() });
    keep(chosen);
  }
  updateHistory();
}

/** @param {Conversation} chosen */
async function forget(chosen) {
  if (!window.confirm(text("confirmDelete", { title: tree.titleOf(chosen) }))) return;
  if (chosen === conversation) stop();
  conversations = conversations.filter((item) => item !== chosen);
  await keeping;
  await database.deleteConversation(chosen).catch(() => {});
  if (chosen === conversation) await open(tree.newConversation());
  updateHistory();
}

/** @param {string} draft @param {Message | null} [replaced] the text will be an alternative to it
 * @param {Attached[]} [attached]
 */
function setDraft(draft, replaced = null, attached = []) {
  editing = replaced;
  find("editing", HTMLElement).hidden = !replaced;
  if (box.value !== draft) box.value = draft; // an input method may be at work in it
  attachments.set(attached);
  fitHeight(box);
  if (draft) box.focus();
}

function editLast() {
  const last = tree.pathOf(conversation).findLast(({ role }) => role === "user");
  if (last && running.size === 0) actions.edit(last);
}

function exportMarkdown() {
  const names = { user: text("you"), assistant: model?.id ?? text("model") };
  saveFile(`tongwen-${conversation.id}.md`, "text/markdown", tree.asMarkdown(conversation, names, documents));
}

function exportJson() {
  const messages = tree.apiMessages(tree.pathOf(conversation), settings.systemPrompt, documents);
  const attached = tree.documentIds(conversation).flatMap((id) => documents.get(id) ?? []);
  const page = asJson(conversation, { model: model?.id, messages, documents: attached });
  saveFile(`tongwen-${conversation.id}.json`, "application/json", page);
}

/** @param {File[]} files */
async function importFiles(files) {
  await ready;
  for (const file of files) {
    const found = imported(await file.text());
    if (!found) {
      showNotice(text("errorImport"), text("errorImportMore", { name: file.name }));
      continue;
    }
    for (const one of found.documents) {
      await database.writeDocument(one).catch(() => {});
      documents.set(one.id, one);
    }
    await open(found.conversation);
    await keep(found.conversation);
  }
}

// ---------------------------------------------------------------- controls

/** @param {boolean} isOpen on a narrow window, where it covers the conversation */
function toggleSidebar(isOpen) {
  document.body.classList.toggle("sidebar-open", isOpen);
  find("shade", HTMLElement).hidden = !isOpen;
  find("toggle-sidebar", HTMLButtonElement).setAttribute("aria-expanded", String(isOpen));
}

function showLanguage() {
  strings.useLanguage(settings.language ?? strings.preferredLanguage());
  hideNotice();
  updateHistory();
  showModel();
  showFacts(facts);
  attachments.show();
  showConversation();
}

function escape() {
  if (document.querySelector("dialog[open]")) return; // the key closes it
  if (running.size > 0) stop();
  else if (isReaderOpen()) closeReader();
  else if (editing) setDraft("");
  toggleSidebar(false);
}

function search() {
  if (getComputedStyle(find("toggle-sidebar", HTMLElement)).display !== "none") toggleSidebar(true);
  find("search", HTMLInputElement).focus();
}

function keepPlace() {
  if (!isRestored && !isPlaceChosen) return; // the place of before is still to be returned to
  const unfinished = [...running.keys()].flatMap((id) => {
    const message = conversation.messages[id];
    return message ? [conversation.messages[message.parent ?? ""], message] : [];
  });
  writePlace({
    unfinished, // a database cannot be written to any more while the page is left
    conversation: conversation.id,
    isStored: conversations.some(({ id }) => id === conversation.id),
    leaf: conversation.leaf,
    top: scroller.scrollTop,
    isAtEnd,
    draft: editing ? "" : box.value,
    attached: editing ? [] : attachments.documents.map(({ id }) => id),
  });
}

/** The conversation that this tab showed, with what was being written when it was left.
 * @param {Partial<import("./place.js").Place>} place
 */
function placeOf({ conversation: id, leaf, isStored, unfinished = [] }) {
  let last = conversations.find((item) => item.id === id);
  if (!last && id && isStored === false && unfinished.length > 0) last = { ...tree.newConversation(), id };
  if (!last) return undefined;
  for (const message of unfinished) last.messages[message.id] = { ...last.messages[message.id], ...message };
  if (leaf && last.messages[leaf]) last.leaf = leaf;
  return last;
}

/** Read what is stored, and go back to where this tab was. */
async function restore() {
  try {
    for (const { conversation: old, forget: forgetOld } of ofFirstVersion()) {
      await database.writeConversation(old);
      forgetOld();
    }
    conversations = await database.readConversations();
    database.onChange(takeNews);
    const place = readPlace();
    const last = placeOf(place);
    if (last) await readDocumentsOf(last);
    const attached = await database.readDocuments(place.attached ?? []);
    isRestored = true;
    if (last && place.unfinished?.length) keep(last);
    if (isPlaceChosen) {
      showConversation();
    } else {
      if (last) conversation = last;
      // What was typed and attached meanwhile stays.
      setDraft(box.value || (place.draft ?? ""), null, [...attached, ...attachments.documents]);
      showConversation();
      if (place.isAtEnd ?? true) scrollToEnd();
      else scroller.scrollTop = place.top ?? 0;
    }
  } catch {
    isRestored = true;
    showBusy();
    showNotice(text("errorStorage"), text("errorStorageMore"));
  }
  updateHistory();
}

function start() {
  onClick("new-chat", () => open(tree.newConversation()));
  onClick("language", () => {
    settings.language = strings.currentLanguage() === "zh" ? "en" : "zh";
    writeSettings(settings);
    showLanguage();
  });
  onClick("toggle-sidebar", () => toggleSidebar(!document.body.classList.contains("sidebar-open")));
  onClick("shade", () => toggleSidebar(false));
  onClick("stop", stop);
  onClick("cancel-edit", () => setDraft(""));
  onClick("notice-close", hideNotice);
  onClick("export-markdown", exportMarkdown);
  onClick("export-json", exportJson);
  const importing = find("import-files", HTMLInputElement);
  onClick("import", () => importing.click());
  importing.addEventListener("change", () => importFiles([...(importing.files ?? [])]));
  find("search", HTMLInputElement).addEventListener("input", updateHistory);
  attachKeys({ box, send, escape, editLast, search, newChat: () => open(tree.newConversation()) });
  box.addEventListener("input", () => {
    fitHeight(box);
    updateGauge();
  });
  find("composer", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  attachReader({ closed: () => box.focus() });
  attachAbout((question) => {
    setDraft(question);
    send();
  });
  attachDialog(settings, { opening: () => toggleSidebar(false), changed: updateGauge });
  scroller.addEventListener("scroll", () => {
    isAtEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 40;
  });
  window.addEventListener("pagehide", keepPlace);
  window.addEventListener("beforeunload", (event) => {
    if (attachments.isReading) event.preventDefault(); // the browser asks: the file is not kept yet
  });
  showTheme(settings);
  showLanguage();
  box.focus();
  findServers(settings.apiKey);
  readModel(settings.apiKey).then((found) => {
    model = found;
    showModel();
    return readFacts(settings.apiKey).then((said) => {
      facts = said;
      showFacts(facts);
    });
  }).catch(showFailure);
}

start();
const ready = restore();
