// The list of conversations: open, search, rename, delete.

import { mentions, titleOf } from "./conversation.js";
import { button, find } from "./dom.js";
import { languageOf, setLabel, text } from "./strings.js";

/** @typedef {import("./conversation.js").Conversation} Conversation */
/** @typedef {{ open: (chosen: Conversation) => void, rename: (chosen: Conversation, title: string) => void,
 *   remove: (chosen: Conversation) => void }} Actions */

/**
 * @param {Conversation[]} conversations the newest first
 * @param {Conversation} current
 * @param {Actions} actions
 */
export function showHistory(conversations, current, actions) {
  const words = find("search", HTMLInputElement).value.trim();
  const found = words ? conversations.filter((item) => mentions(item, words)) : conversations;
  const list = find("history", HTMLElement);
  list.replaceChildren(...found.map((item) => row(item, item.id === current.id, actions)));
  find("nothing-found", HTMLElement).hidden = !words || found.length > 0;
}

/** @param {Conversation} item @param {boolean} isCurrent @param {Actions} actions */
function row(item, isCurrent, actions) {
  const title = titleOf(item);
  const element = document.createElement("li");
  const open = document.createElement("button");
  open.type = "button";
  open.textContent = title;
  open.lang = languageOf(title);
  if (isCurrent) open.setAttribute("aria-current", "true");
  open.addEventListener("click", () => actions.open(item));
  const rename = button("renameChat", () => edit(element, item, actions), "✎", { title });
  const remove = button("deleteChat", () => actions.remove(item), "×", { title });
  element.append(open, rename, remove);
  return element;
}

/** Let the title be typed in place of its row.
 * @param {HTMLElement} element @param {Conversation} item @param {Actions} actions
 */
function edit(element, item, actions) {
  const form = document.createElement("form");
  const input = document.createElement("input");
  input.value = titleOf(item);
  setLabel(input, "chatTitle");
  const finish = () => actions.rename(item, input.value.trim());
  form.append(input);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    input.blur();
  });
  input.addEventListener("blur", finish);
  element.replaceChildren(form);
  input.select();
  input.focus();
}
