// The message box: Enter sends, Shift+Enter breaks the line, and the Enter that confirms a
// Chinese candidate in the input method does neither.

/**
 * Whether a key press belongs to the input method, not to us. Safari ends the composition
 * before it sends the key, and then only keyCode 229 tells.
 * @param {KeyboardEvent} event
 */
export function belongsToInputMethod(event) {
  return event.isComposing || event.keyCode === 229;
}

/**
 * The page's only listener for Enter and Escape, so that no input can forget the check above.
 * @param {{ box: HTMLTextAreaElement, send: () => void, escape: () => void }} page
 */
export function attachKeys({ box, send, escape }) {
  document.addEventListener("keydown", (event) => {
    const isEnter = event.key === "Enter";
    if (belongsToInputMethod(event)) {
      // A one-line input would submit its form.
      if (isEnter && event.target instanceof HTMLInputElement) event.preventDefault();
      return;
    }
    if (event.key === "Escape") escape();
    if (isEnter && !event.shiftKey && event.target === box) {
      event.preventDefault();
      send();
    }
  });
}

/** Let the box grow with its text, up to the height the style sheet allows.
 * @param {HTMLTextAreaElement} box
 */
export function fitHeight(box) {
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}
