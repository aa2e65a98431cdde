// The message box and the keyboard: Enter sends, Shift+Enter breaks the line, and the Enter that
// confirms a Chinese candidate in the input method does neither.

/**
 * Whether a key press belongs to the input method, not to us. Safari ends the composition
 * before it sends the key, and then only keyCode 229 tells.
 * @param {KeyboardEvent} event
 */
export function belongsToInputMethod(event) {
  return event.isComposing || event.keyCode === 229;
}

/**
 * The page's only listener for keys, so that no input can forget the check above.
 * @param {{ box: HTMLTextAreaElement, send: () => void, escape: () => void, editLast: () => void,
 *   search: () => void, newChat: () => void }} page
 */
export function attachKeys({ box, send, escape, editLast, search, newChat }) {
  document.addEventListener("keydown", (event) => {
    const isEnter = event.key === "Enter";
    if (belongsToInputMethod(event)) {
      // A one-line input would submit its form.
      if (isEnter && event.target instanceof HTMLInputElement) event.preventDefault();
      return;
    }
    const isCommand = event.ctrlKey || event.metaKey;
    /** @type {(() => void) | undefined} */
    let act;
    if (isEnter && !event.shiftKey && event.target === box) act = send;
    if (event.key === "ArrowUp" && event.target === box && box.value === "") act = editLast;
    if (isCommand && event.key.toLowerCase() === "k") act = search;
    if (isCommand && event.shiftKey && event.key.toLowerCase() === "o") act = newChat;
    if (act) {
      event.preventDefault();
      act();
    }
    if (event.key === "Escape") escape();
  });
}

/** Let the box grow with its text, up to the height the style sheet allows.
 * @param {HTMLTextAreaElement} box
 */
export function fitHeight(box) {
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}
