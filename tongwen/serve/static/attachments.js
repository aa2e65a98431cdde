// Documents on their way into a question: read by the server, shown as chips above the box.

import { readAttachment } from "./api.js";
import { newId } from "./conversation.js";
import { writeDocument } from "./database.js";
import { button, find, note, onClick } from "./dom.js";
import { text } from "./strings.js";

/** @typedef {import("./conversation.js").Attached} Attached */

export class Attachments {
  /** @type {Attached[]} */
  #documents = [];
  /** Names of files that the server is reading. @type {string[]} */
  #reading = [];

  /**
   * @param {{ key: () => string, open: (attached: Attached) => void, changed: () => void,
   *   failed: (error: unknown) => void }} page
   */
  constructor(page) {
    this.page = page;
    const input = find("files", HTMLInputElement);
    onClick("attach", () => input.click());
    input.addEventListener("change", () => {
      this.add([...(input.files ?? [])]);
      input.value = ""; // the same file may be chosen again
    });
    const main = find("main", HTMLElement);
    main.addEventListener("dragover", (event) => event.preventDefault());
    main.addEventListener("drop", (event) => {
      event.preventDefault();
      this.add([...(event.dataTransfer?.files ?? [])]);
    });
    main.addEventListener("paste", (event) => this.add([...(event.clipboardData?.files ?? [])]));
  }

  get documents() {
    return this.#documents;
  }

  get isReading() {
    return this.#reading.length > 0;
  }

  /** @param {Attached[]} documents */
  set(documents) {
    this.#documents = documents;
    this.show();
  }

  /** @param {File[]} files */
  async add(files) {
    for (const file of files) {
      this.#reading.push(file.name);
      this.show();
      try {
        const read = await readAttachment(file, this.page.key());
        const attached = { id: newId(), name: read.name, text: read.text, tokens: read.tokens };
        await writeDocument(attached);
        this.#documents = [...this.#documents, attached];
      } catch (error) {
        this.page.failed(error);
      }
      this.#reading.splice(this.#reading.indexOf(file.name), 1);
      this.show();
    }
  }

  /** Draw the chips, in the language of the page. */
  show() {
    const chips = this.#documents.map((attached) => {
      const chip = documentChip(attached, this.page.open);
      const remove = () => this.set(this.#documents.filter((other) => other !== attached));
      chip.append(button("removeDocument", remove, "×", { name: attached.name }));
      return chip;
    });
    const waiting = this.#reading.map((name) => note(text("readingFile", { name }), "chip"));
    const list = find("attached", HTMLElement);
    list.replaceChildren(...chips, ...waiting);
    list.hidden = list.children.length === 0;
    this.page.changed();
  }
}

/** @param {Attached} attached @param {(attached: Attached) => void} open */
export function documentChip(attached, open) {
  const chip = note("", "chip");
  const name = button("openDocument", () => open(attached), attached.name, { name: attached.name });
  name.className = "quiet";
  chip.append(name, note(text("tokens", { tokens: attached.tokens })));
  return chip;
}
