// The server's OpenAI-compatible interface, as far as the page needs it.

/**
 * @typedef {{ role: "system" | "user" | "assistant" | "tool", content: string,
 *   tool_calls?: object[], tool_call_id?: string }} ApiMessage
 * @typedef {{ prompt_tokens: number, completion_tokens: number, total_tokens: number }} Usage
 * @typedef {{ total: number, processed: number }} Progress tokens of the prompt
 * @typedef {{ id: string, name: string, arguments: string, result: string | null,
 *   status: "running" | "completed" | "failed" }} ServerCall of a tool of an MCP server
 * @typedef {{ server_label: string, tools: { name: string, description: string }[] }} ToolServer
 * @typedef {{ text?: string, finish?: string, usage?: Usage, progress?: Progress,
 *   call?: ServerCall }} Delta
 * @typedef {{ id: string, contextTokens: number | null }} Model
 * @typedef {{ id: string, parameters: number, context_length: number, has_chat: boolean,
 *   license: string | null, languages: string[] | null, card: string | null }} Facts
 */

/** What went wrong, in a form the page can put into words.
 * `kind`: "context" (too long), "key" (401), "busy" (429), "large" (413), "network", "cut"
 * (mid-answer), "attachment" or "server".
 */
export class ApiError extends Error {
  /**
   * @param {"context" | "key" | "busy" | "large" | "network" | "cut" | "attachment" | "server"} kind
   * @param {string} [message] the server's own words
   * @param {string} [problem] of an attachment, in a word
   */
  constructor(kind, message = "", problem = "") {
    super(message);
    this.kind = kind;
    this.problem = problem;
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
  const attachment = /^attachment_(.+)/.exec(error.code ?? "");
  if (attachment) return new ApiError("attachment", message, attachment[1]);
  if (status === 429) return new ApiError("busy", message);
  if (status === 413) return new ApiError("large", message);
  if (status === 401) return new ApiError("key", message);
  return new ApiError("server", message);
}

/** The first model that a server offers.
 * @param {string} key
 * @param {string} [server] its address; this page's own when empty
 * @returns {Promise<Model>}
 */
export async function readModel(key, server = "") {
  const { data } = await (await request(`${server}v1/models`, key)).json();
  return { id: data[0].id, contextTokens: data[0].context_length ?? null };
}

/** What the model says of itself. @param {string} key @returns {Promise<Facts>} */
export async function readFacts(key) {
  return (await request("model-facts", key)).json();
}

/** The MCP servers whose tools may be used. @param {string} key @returns {Promise<ToolServer[]>} */
export async function readServers(key) {
  return (await (await request("mcp-servers", key)).json()).data;
}

/** Tokens of a dialogue, or of a text by itself.
 * @param {{ messages: ApiMessage[] } | { prompt: string, parse_special: false }} body
 * @param {string} key
 * @returns {Promise<number>}
 */
export async function countTokens(body, key) {
  const response = await request("tokenize", key, { method: "POST", body: JSON.stringify(body) });
  return (await response.json()).count;
}

/** The text of a file, read by the server.
 * @param {File} file @param {string} key
 * @returns {Promise<{ name: string, text: string, tokens: number }>}
 */
export async function readAttachment(file, key) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let binary = "";
  for (let start = 0; start < bytes.length; start += 32_768) {
    binary += String.fromCharCode(...bytes.subarray(start, start + 32_768));
  }
  const body = JSON.stringify({ name: file.name, content: btoa(binary) });
  return (await request("attachments", key, { method: "POST", body })).json();
}

/**
 * Ask, and yield the answer as it is written. Ends after the server's last event.
 * @param {{ model: string, messages: ApiMessage[], [field: string]: unknown }} body
 * @param {{ key: string, signal: AbortSignal, server?: string }} options
 * @returns {AsyncGenerator<Delta>}
 * @throws {ApiError} refused, unreachable or cut off; an AbortError when `signal` says so
 */
export async function* streamChat(body, { key, signal, server = "" }) {
  const response = await request(`${server}v1/chat/completions`, key, {
    method: "POST",
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true }, return_progress: true }),
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
      progress: chunk.prompt_progress ?? undefined,
      call: chunk.mcp_call ?? undefined,
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
