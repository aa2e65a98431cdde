// Where this tab is: kept for a reload, and by no other tab.

const PLACE = "tongwen.place";

/** @typedef {{ conversation: string, isStored: boolean, leaf: string | null, top: number, isAtEnd: boolean, draft: string,
 *   attached: string[], unfinished: import("./conversation.js").Message[] }} Place */

/** @returns {Partial<Place>} */
export function readPlace() {
  try {
    return JSON.parse(sessionStorage.getItem(PLACE) ?? "{}");
  } catch {
    return {};
  }
}

/** @param {Place} place */
export function writePlace(place) {
  try {
    sessionStorage.setItem(PLACE, JSON.stringify(place));
  } catch {
    // A draft of several megabytes: the place is a convenience, the conversation is stored.
  }
}
