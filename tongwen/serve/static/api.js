// The server's OpenAI-compatible interface, as far as the page needs it.

/**
 * @typedef {{ role: "system" | "user" | "assistant", content: string }} ApiMessage
 * @typedef {{ prompt_tokens: number, completion_tokens: number, total_tokens: number }} Usage
 * @typedef {{ text?: string, finish?: string, usage?: Usage }} Delta
 * @typedef {{ id: string, contextTokens: number | null }} Model
 */

/** What went wrong, in a form the page can put into words.
 * `kind`: "context" (too long), "key" (401), "network", "cut" (mid-answer) or "server".
 */
export class ApiError extends Error {
  /**
   * @param {"context" | "key" | "network" | "cut" | "server"} kind
   * @param {string} [message] the server's own words
   */
  constructor(kind, message = "") {
    super(message);
    this.kind = kind;
  }
}

/**
 * @param {string} path relative to the page, so that a proxy may add a prefix
 * @param {string} key API key or ""
 * @param {RequestInit} options
 */
async function request(path, key, options = {}) {
  const headers = new Headers({ "Content-Type": "application/json" });
  if (key) headers.set("Authorization", `Bearer ${key}`);
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ApiError("network");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

/** @param {unknown} error */
export function isAbort(error) {
  return error instanceof DOMException && error.name === "AbortError";
}

/** @param {Response} response */
async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  return errorOf(body.error ?? {}, response.status);
}

/** @param {{ message?: string, code?: string }} error @param {number} status */
function errorOf(error, status) {
  const message = error.message ?? `HTTP ${status}`;
  if (error.code === "context_length_exceeded") return new ApiError("context", message);
  if (status === 401) return new ApiError("key", message);
  return new ApiError("server", message);
}

/** The first model that the server offers.
 * @param {string} key
 * @returns {Promise<Model>}
 */
export async function readModel(key) {
  const { data } = await (await request("v1/models", key)).json();
  return { id: data[0].id, contextTokens: data[0].context_length ?? null };
}

/**
 * Ask, and yield the answer as it is written. Ends after the server's last event.
 * @param {{ model: string, messages: ApiMessage[], temperature?: number, max_tokens?: number }} body
 * @param {{ key: string, signal: AbortSignal }} options
 * @returns {AsyncGenerator<Delta>}
 * @throws {ApiError} refused, unreachable or cut off; an AbortError when `signal` says so
 */
export async function* streamChat(body, { key, signal }) {
  const response = await request("v1/chat/completions", key, {
    method: "POST",
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  const stream = /** @type {ReadableStream<Uint8Array>} */ (response.body);
  for await (const data of events(stream)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw errorOf(chunk.error, 200);
    const choice = chunk.choices[0];
    yield {
      text: choice?.delta?.content ?? undefined,
      finish: choice?.finish_reason ?? undefined,
      usage: chunk.usage ?? undefined,
    };
  }
  throw new ApiError("cut");
}

/** The `data` of server-sent events; comments (keep-alive) are passed over.
 * @param {ReadableStream<Uint8Array>} stream
 * @returns {AsyncGenerator<string>}
 */
async function* events(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder(); // holds back the bytes of an unfinished character
  let waiting = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (waiting + decoder.decode(value, { stream: true })).split(/\r?\n/);
      waiting = /** @type {string} */ (lines.pop());
      for (const line of lines) if (line.startsWith("data:")) yield line.slice(5).trim();
    }
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ApiError("cut");
  } finally {
    reader.cancel().catch(() => {}); // the server sees at once that nobody reads any more
  }
}
