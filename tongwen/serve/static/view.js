// One message of the conversation on the page, and what can be done with it.

import { copyText } from "./copy.js";
import { GrowingMarkdown, renderMarkdown } from "./markdown.js";
import { languageOf, setLabel, text } from "./strings.js";

/**
 * @typedef {import("./store.js").Question} Question
 * @typedef {import("./store.js").Answer} Answer
 * @typedef {import("./store.js").Version} Version
 * @typedef {import("./strings.js").Key} Key
 * @typedef {{ edit: () => void, regenerate: () => void, versionShown: () => void }} Actions
 */

/** @type {Record<string, Key>} */
const ENDINGS = { length: "endedLength", stopped: "endedStopped", error: "endedError" };

export class MessageView {
  #content = document.createElement("div");
  #foot = document.createElement("div");

  /** @param {Question | Answer} message @param {Actions} actions */
  constructor(message, actions) {
    this.message = message;
    this.actions = actions;
    this.element = document.createElement("article");
    this.element.className = message.role;
    this.element.setAttribute("aria-label", text(message.role === "user" ? "you" : "model"));
    this.#content.className = "content";
    this.#foot.className = "foot";
    this.element.append(this.#content, this.#foot);
    this.#showContent();
  }

  /** Show the actions that are possible now.
   * @param {{ isLast: boolean, isBusy: boolean }} state `isLast`: of its role in the conversation
   */
  update({ isLast, isBusy }) {
    this.#foot.replaceChildren();
    if (isBusy && isLast) return;
    this.#foot.append(copyButton(() => contentOf(this.message)));
    if (this.message.role === "user") {
      if (isLast) this.#foot.append(button("edit", this.actions.edit));
      return;
    }
    if (isLast) this.#foot.append(button("regenerate", this.actions.regenerate));
    this.#showVersions(this.message);
    this.#showEnding(shownVersion(this.message));
  }

  /** Empty the message for a new answer; gives what draws it. @param {() => void} drawn */
  grow(drawn) {
    this.#content.replaceChildren();
    this.element.classList.add("growing");
    return new GrowingMarkdown(this.#content, drawn);
  }

  /** The answer is whole: add what needs it whole. */
  settle() {
    this.element.classList.remove("growing");
    this.element.lang = languageOf(contentOf(this.message));
    // Chinese is stressed by dots, English by italics.
    for (const stressed of this.#content.querySelectorAll("em")) {
      stressed.lang = languageOf(stressed.textContent ?? "");
    }
    addCopyButtons(this.#content);
  }

  #showContent() {
    const content = contentOf(this.message);
    if (this.message.role === "user") this.#content.textContent = content;
    else this.#content.replaceChildren(renderMarkdown(content));
    this.settle();
  }

  /** @param {Answer} answer */
  #showVersions(answer) {
    const count = answer.versions.length;
    if (count < 2) return;
    const go = (/** @type {number} */ step) => () => {
      answer.shown += step;
      this.#showContent();
      this.actions.versionShown();
    };
    const earlier = button("earlierVersion", go(-1), "‹");
    const later = button("laterVersion", go(1), "›");
    earlier.disabled = answer.shown === 0;
    later.disabled = answer.shown === count - 1;
    this.#foot.append(earlier, note(`${answer.shown + 1} / ${count}`), later);
  }

  /** @param {Version} version */
  #showEnding({ ended, tokens, seconds }) {
    if (tokens && seconds) {
      const rate = Number((tokens / seconds).toPrecision(2));
      this.#foot.append(note(text("tokensPerSecond", { tokens, rate })));
    }
    if (ended && ENDINGS[ended]) this.#foot.append(note(text(ENDINGS[ended])));
  }
}

/** @param {Answer} answer */
export function shownVersion(answer) {
  return answer.versions[answer.shown];
}

/** @param {Question | Answer} message */
function contentOf(message) {
  return message.role === "user" ? message.content : shownVersion(message).content;
}

/** @param {string} content */
function note(content) {
  const element = document.createElement("span");
  element.textContent = content;
  return element;
}

/** @param {Key} key @param {() => void} act @param {string} [sign] shown instead of the words */
function button(key, act, sign) {
  const element = document.createElement("button");
  element.type = "button";
  element.className = sign ? "quiet icon" : "quiet";
  element.textContent = sign ?? text(key);
  if (sign) setLabel(element, key);
  element.addEventListener("click", act);
  return element;
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
