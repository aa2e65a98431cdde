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
    for await (const delta of streamChat({ model, messages, ...body }, { key, signal, server })) {
      if (delta.progress) {
        showReading(view, delta.progress, (performance.now() - began) / 1000);
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

/** @param {import("./view.js").MessageView} view
 * @param {import("./api.js").Progress} progress @param {number} seconds so far
 */
function showReading(view, { total, processed }, seconds) {
  if (processed >= total) {
    view.hideProgress();
    return;
  }
  const words = text("reading", { processed, total });
  // The first piece also waited for its turn; two of them make a rate.
  const left = processed > 0 ? Math.ceil((seconds / processed) * (total - processed)) : null;
  view.showProgress(left === null ? words : words + text("timeLeft", { seconds: left }), processed / total);
}
