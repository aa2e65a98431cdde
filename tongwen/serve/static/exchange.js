// One answer while the server writes it.

import { isAbort, streamChat } from "./api.js";
import { text } from "./strings.js";
import { takeCall } from "./tools.js";

/**
 * @typedef {import("./conversation.js").Message} Message
 * @typedef {{ model: string, server: string, key: string, body: Record<string, unknown> }} Asked
 */

/** Write the server's answer into a message and its view.
 * @param {Message} message
 * @param {import("./view.js").MessageView} view
 * @param {() => Promise<Asked & { messages: import("./api.js").ApiMessage[] }>} prepare
 * @param {{ signal: AbortSignal, drawn: () => void, written: () => void }} page
 * @returns {Promise<unknown>} what went wrong, or null
 */
export async function writeAnswer(message, view, prepare, { signal, drawn, written }) {
  const growing = view.grow(drawn);
  let failure = null;
  delete message.ended;
  try {
    const { model, server, key, body, messages } = await prepare();
    message.model = model;
    const began = performance.now();
    let started = began;
    /** @type {Reading[]} */
    const readings = [];
    for await (const delta of streamChat({ model, messages, ...body }, { key, signal, server })) {
      if (delta.progress) {
        readings.push({ tokens: delta.progress.processed, seconds: (performance.now() - began) / 1000 });
        showReading(view, delta.progress, readings);
        started = performance.now();
      }
      if (delta.call) {
        takeCall((message.calls ??= []), delta.call, message.content.length);
        message.changed = Date.now();
        view.showCalls();
        written();
      }
      if (delta.text) {
        view.hideProgress();
        message.content += delta.text;
        message.changed = Date.now();
        growing.append(delta.text);
        written();
      }
      if (delta.finish) message.ended = delta.finish;
      if (delta.usage) {
        message.tokens = delta.usage.completion_tokens;
        // With calls it is the sum of several prompts, and says nothing of the window.
        if (!message.calls) message.total = delta.usage.total_tokens;
        message.seconds = (performance.now() - started) / 1000;
      }
    }
  } catch (error) {
    failure = error;
    message.ended = isAbort(error) ? "stopped" : "error";
  }
  message.changed = Date.now();
  growing.finish();
  view.settle();
  return failure;
}

/** @typedef {{ tokens: number, seconds: number }} Reading how far it was, and when */

/** @param {import("./view.js").MessageView} view
 * @param {import("./api.js").Progress} progress @param {Reading[]} readings
 */
function showReading(view, { total, processed }, readings) {
  if (processed >= total) {
    view.hideProgress();
    return;
  }
  const words = text("reading", { processed, total });
  const left = secondsLeft(readings, total);
  view.showProgress(words + (left === null ? "" : leftWords(left)), processed / total);
}

/** @param {number} seconds */
function leftWords(seconds) {
  if (seconds > 120) return text("minutesLeft", { minutes: Math.ceil(seconds / 60) });
  return text("timeLeft", { seconds: Math.ceil(seconds) });
}

/** Seconds until all is read. A token costs more the more tokens are before it, so the time so far
 * is taken as a line and a square, through the first reading, the last, and one between them.
 * @param {Reading[]} readings @param {number} total @returns {number | null} null: nothing is known yet
 */
export function secondsLeft(readings, total) {
  const first = readings[0];
  const last = /** @type {Reading} */ (readings.at(-1));
  if (last.tokens <= first.tokens) return null;
  const middle = readings.find(({ tokens }) => tokens >= (first.tokens + last.tokens) / 2) ?? last;
  const rate = (/** @type {Reading} */ one) => (one.seconds - first.seconds) / (one.tokens - first.tokens);
  const growth = middle === last ? 0 : (rate(last) - rate(middle)) / (last.tokens - middle.tokens);
  const square = Math.min(Math.max(growth, 0), rate(last) / (last.tokens + first.tokens));
  const line = rate(last) - square * (last.tokens + first.tokens);
  return line * (total - last.tokens) + square * (total ** 2 - last.tokens ** 2);
}
