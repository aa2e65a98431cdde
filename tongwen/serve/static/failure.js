// What went wrong, in the language of the page.

import { ApiError } from "./api.js";
import { text } from "./strings.js";

/** @type {Record<string, import("./strings.js").Key>} */
const ATTACHMENT_PROBLEMS = {
  encrypted: "attachmentEncrypted",
  malformed: "attachmentMalformed",
  scanned: "attachmentScanned",
  too_large: "attachmentTooLarge",
  bomb: "attachmentTooLarge",
  too_slow: "attachmentTooLarge",
  no_text: "attachmentNoText",
  unknown_format: "attachmentUnknown",
  no_reader: "attachmentNoReader",
};

/** A title and a text. @param {unknown} error @param {number | null} limit of the model, in tokens
 * @returns {[string, string]}
 */
export function words(error, limit) {
  const { kind, message, problem } = error instanceof ApiError ? error : new ApiError("server", `${error}`);
  switch (kind) {
    case "context":
      return [text("errorContext"), contextNumbers(message, limit)];
    case "key":
      return [text("errorKey"), text("errorKeyMore")];
    case "busy":
      return [text("errorBusy"), text("errorBusyMore")];
    case "large":
      return [text("errorLarge"), text("errorLargeMore")];
    case "network":
      return [text("errorNetwork"), text("errorNetworkMore")];
    case "cut":
      return [text("errorCut"), ""];
    case "attachment": {
      const known = ATTACHMENT_PROBLEMS[problem];
      return [text("errorAttachment"), known ? text(known) : message];
    }
    default:
      return [text("errorServer"), message];
  }
}

/** The server names both numbers, the smaller is the limit; without them its own words are shown.
 * @param {string} message @param {number | null} limit
 */
function contextNumbers(message, limit) {
  const numbers = [...message.matchAll(/\d[\d,]*/g)].map(([n]) => Number(n.replaceAll(",", "")));
  const needed = Math.max(...numbers);
  if (limit === null || !numbers.includes(limit) || needed <= limit) return message;
  return text("errorContextNumbers", { needed, limit });
}
