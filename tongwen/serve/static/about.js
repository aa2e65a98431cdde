// What the model is and knows, and three questions to begin with.

import { find, onClick } from "./dom.js";
import { renderMarkdown } from "./markdown.js";
import { text } from "./strings.js";

/** @typedef {import("./api.js").Facts} Facts */

const LANGUAGES = { en: "English", zh: "中文" };

/** @param {(question: string) => void} ask */
export function attachAbout(ask) {
  const dialog = find("about", HTMLDialogElement);
  onClick("model", () => dialog.showModal());
  onClick("close-about", () => dialog.close());
  for (const element of document.querySelectorAll("#questions button")) {
    element.addEventListener("click", () => ask(element.textContent ?? ""));
  }
}

/** @param {Facts | null} facts null until the server has said them */
export function showFacts(facts) {
  find("welcome-model", HTMLElement).textContent = facts ? `${facts.id} · ${summary(facts)}` : "";
  find("no-chat", HTMLElement).hidden = facts?.has_chat ?? true;
  if (!facts) return;
  find("about-name", HTMLElement).textContent = facts.id;
  find("about-facts", HTMLElement).textContent = summary(facts);
  const card = find("about-card", HTMLElement);
  // Its first heading is the name again.
  const content = facts.card?.replace(/^# .*\n/, "") ?? text("noCard");
  card.replaceChildren(renderMarkdown(content));
  for (const table of card.querySelectorAll("table, pre")) table.setAttribute("tabindex", "0");
}

/** @param {Facts} facts */
function summary({ parameters, context_length, languages, license }) {
  const named = (languages ?? []).map((code) => LANGUAGES[/** @type {keyof typeof LANGUAGES} */ (code)] ?? code);
  return [
    text("parameters", { number: compact(parameters) }),
    text("contextWindow", { tokens: context_length }),
    named.join(", "),
    license ?? "",
  ].filter(Boolean).join(" · ");
}

/** 7B, 1.1B, 350M; as models are named in both languages. @param {number} number */
function compact(number) {
  return new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 2 }).format(number);
}
