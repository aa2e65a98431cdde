// One message of the conversation on the page, and what can be done with it.

import { documentChip } from "./attachments.js";
import { copyText } from "./copy.js";
import { button, note } from "./dom.js";
import { GrowingMarkdown, renderMarkdown } from "./markdown.js";
import { markQuotes } from "./quotes.js";
import { languageOf, text } from "./strings.js";
import { callsLine } from "./tools.js";

/**
 * @typedef {import("./conversation.js").Message} Message
 * @typedef {import("./conversation.js").Attached} Attached
 * @typedef {import("./strings.js").Key} Key
 * @typedef {object} Actions
 * @property {(message: Message) => void} edit
 * @property {(message: Message) => void} regenerate
 * @property {(message: Message) => void} resume go on writing
 * @property {(message: Message) => void} choose show another branch
 * @property {(attached: Attached) => void} open
 * @property {(passage: import("./quotes.js").Passage) => void} jump
 * @typedef {object} State
 * @property {boolean} isBusy an answer is being written
 * @property {boolean} isWritten it is this one
 * @property {boolean} isOnPath the conversation goes on from it
 * @property {Message[]} alternatives with it among them
 */

/** @type {Record<string, Key>} */
const ENDINGS = { length: "endedLength", stopped: "endedStopped", error: "endedError" };

export class MessageView {
  #calls = document.createElement("div");
  #content = document.createElement("div");
  #foot = document.createElement("div");

  /**
   * @param {Message} message
   * @param {{ attached: Attached[], quotable: Attached[] }} documents its own, and those an answer can quote
   * @param {Actions} actions
   */
  constructor(message, documents, actions) {
    this.message = message;
    this.documents = documents;
    this.actions = actions;
    this.element = document.createElement("article");
    this.element.className = message.role;
    this.element.setAttribute("aria-label", text(message.role === "user" ? "you" : "model"));
    this.#content.className = "content";
    this.#foot.className = "foot";
    if (documents.attached.length > 0) {
      const chips = document.createElement("div");
      chips.className = "chips";
      chips.append(...documents.attached.map((attached) => documentChip(attached, actions.open)));
      this.element.append(chips);
    }
    this.element.append(this.#calls, this.#content, this.#foot);
    this.showCalls();
    if (message.role === "user") this.#content.textContent = message.content;
    else this.#content.replaceChildren(renderMarkdown(message.content));
    this.settle();
  }

  /** Show the actions that are possible now. @param {State} state */
  update({ isBusy, isWritten, isOnPath, alternatives }) {
    this.#foot.replaceChildren();
    if (isWritten) return;
    const { message, actions } = this;
    const act = (/** @type {Key} */ key, /** @type {(message: Message) => void} */ action) => {
      const element = button(key, () => action(message));
      element.disabled = isBusy;
      this.#foot.append(element);
    };
    this.#foot.append(copyButton(() => message.content));
    act("edit", actions.edit);
    if (message.role === "assistant") {
      act("regenerate", actions.regenerate);
      if (message.ended !== "stop") act("continue", actions.resume);
      if (message.pair && !isOnPath) act("goOnWithThis", actions.choose);
    }
    if (isOnPath) this.#showAlternatives(alternatives, isBusy);
    if (message.role === "assistant") this.#showEnding();
  }

  /** Empty the message for what is written into it; gives what draws it.
   * @param {() => void} drawn
   */
  grow(drawn) {
    this.#content.replaceChildren();
    this.element.classList.add("growing");
    const growing = new GrowingMarkdown(this.#content, drawn);
    if (this.message.content) growing.append(this.message.content);
    return growing;
  }

  /** The calls of tools in this answer. */
  showCalls() {
    const { calls } = this.message;
    if (!calls?.length) return;
    this.hideProgress();
    const isOpen = this.#calls.querySelector("details")?.open ?? false;
    this.#calls.replaceChildren(callsLine(calls, isOpen));
  }

  /** While the prompt is read. @param {string} words @param {number} share 0 to 1 */
  showProgress(words, share) {
    const bar = document.createElement("progress");
    bar.value = share;
    bar.setAttribute("aria-label", words);
    const line = document.createElement("div");
    line.className = "progress";
    line.append(note(words), bar);
    this.#foot.replaceChildren(line);
  }

  hideProgress() {
    this.#foot.replaceChildren();
  }

  /** The message is whole: add what needs it whole. */
  settle() {
    this.element.classList.remove("growing");
    this.element.lang = languageOf(this.message.content);
    // Chinese is stressed by dots, English by italics.
    for (const stressed of this.#content.querySelectorAll("em")) {
      stressed.lang = languageOf(stressed.textContent ?? "");
    }
    if (this.message.role === "user") return;
    markQuotes(this.#content, this.documents.quotable, this.actions.jump);
    addCopyButtons(this.#content);
    for (const table of this.#content.querySelectorAll("table, pre, .maths")) table.setAttribute("tabindex", "0");
  }

  /** @param {Message[]} alternatives @param {boolean} isBusy */
  #showAlternatives(alternatives, isBusy) {
    if (alternatives.length < 2) return;
    const shown = alternatives.indexOf(this.message);
    const go = (/** @type {number} */ step) => () => this.actions.choose(alternatives[shown + step]);
    const earlier = button("earlierVersion", go(-1), "‹");
    const later = button("laterVersion", go(1), "›");
    earlier.disabled = isBusy || shown === 0;
    later.disabled = isBusy || shown === alternatives.length - 1;
    this.#foot.append(earlier, note(`${shown + 1} / ${alternatives.length}`), later);
  }

  #showEnding() {
    const { ended, tokens, seconds, pair, model } = this.message;
    if (pair && model) this.#foot.append(note(model));
    if (tokens && seconds) {
      const rate = Number((tokens / seconds).toPrecision(2));
      this.#foot.append(note(text("tokensPerSecond", { tokens, rate })));
    }
    const ending = ENDINGS[ended ?? "error"];
    if (ending) this.#foot.append(note(text(ending)));
  }
}

/** Two answers next to each other. @param {MessageView[]} views */
export function sideBySide(views) {
  const row = document.createElement("div");
  row.className = "pair";
  row.append(...views.map(({ element }) => element));
  return row;
}

/** @param {() => string} content */
function copyButton(content) {
  const element = button("copy", async () => {
    element.textContent = text((await copyText(content())) ? "copied" : "copyFailed");
    setTimeout(() => (element.textContent = text("copy")), 1500);
  });
  return element;
}

/** @param {HTMLElement} root */
function addCopyButtons(root) {
  for (const block of root.querySelectorAll("pre")) {
    const frame = document.createElement("div");
    frame.className = "code";
    block.replaceWith(frame);
    frame.append(block, copyButton(() => block.textContent ?? ""));
  }
}
