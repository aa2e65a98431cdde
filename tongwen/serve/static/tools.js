// Tools of MCP servers: which servers an answer may use, and the calls in it.

import { readServers } from "./api.js";
import { find, note } from "./dom.js";
import { text } from "./strings.js";

/**
 * @typedef {import("./api.js").ServerCall} ServerCall
 * @typedef {import("./api.js").ToolServer} ToolServer
 * @typedef {import("./settings.js").Settings} Settings
 * @typedef {ServerCall & { at: number }} Call made when the answer had so many characters
 */

/** What the server said to whom. @type {{ key: string, servers: Promise<ToolServer[]> } | null} */
let asked = null;

/** The servers whose tools may be used, asked for once a key; after a failure there are none, and
 * the next question asks again. @param {string} key @returns {Promise<ToolServer[]>}
 */
export function findServers(key) {
  if (asked?.key !== key) {
    const servers = readServers(key).catch(() => {
      asked = null;
      return [];
    });
    asked = { key, servers };
  }
  return asked.servers;
}

/** The tools of a request; waits until the servers are known. @param {Settings} settings */
export async function toolFields({ apiKey, serversOff }) {
  const servers = await findServers(apiKey);
  const wanted = servers.filter(({ server_label }) => !serversOff.includes(server_label));
  const tools = wanted.map(({ server_label }) => ({ type: "mcp", server_label }));
  return tools.length > 0 ? { tools } : {};
}

/** Show a box for each server in the settings. @param {Settings} settings */
export async function showServers({ apiKey, serversOff: off }) {
  const servers = await findServers(apiKey);
  find("servers", HTMLElement).hidden = servers.length === 0;
  find("server-list", HTMLElement).replaceChildren(...servers.map(({ server_label, tools }) => {
    const label = document.createElement("label");
    const box = document.createElement("input");
    box.type = "checkbox";
    box.value = server_label;
    box.checked = !off.includes(server_label);
    label.className = "check";
    label.title = tools.map(({ name, description }) => `${name}: ${description}`).join("\n");
    label.append(box, note(`${server_label} (${tools.length})`));
    return label;
  }));
}

/** Servers whose box is empty, and those of before that have no box now.
 * @param {string[]} before @returns {string[]}
 */
export function serversOff(before) {
  const boxes = [...find("server-list", HTMLElement).querySelectorAll("input")];
  const gone = before.filter((name) => !boxes.some(({ value }) => value === name));
  return [...gone, ...boxes.filter((box) => !box.checked).map((box) => box.value)];
}

/** Take a call that was begun or has ended into those of an answer.
 * @param {Call[]} calls @param {ServerCall} call @param {number} at
 */
export function takeCall(calls, call, at) {
  const known = calls.find(({ id }) => id === call.id);
  if (known) Object.assign(known, call);
  else calls.push({ ...call, at });
}

/** All calls of an answer, folded into one line. @param {Call[]} calls @param {boolean} isOpen */
export function callsLine(calls, isOpen) {
  const details = document.createElement("details");
  details.className = "calls";
  details.open = isOpen;
  const summary = document.createElement("summary");
  const running = calls.find(({ status }) => status === "running");
  const names = [...new Set(calls.map(({ name }) => name))].join(", ");
  summary.textContent = running
    ? text("callRunning", { name: running.name })
    : text("callsMade", { number: calls.length, names });
  const list = document.createElement("ol");
  list.append(...calls.map((call) => {
    const item = document.createElement("li");
    item.append(note(`${call.name}(${call.arguments})`, "call"));
    if (call.result !== null) item.append(shown(call.result, call.status === "failed"));
    return item;
  }));
  details.append(summary, list);
  return details;
}

/** @param {string} result @param {boolean} isFailed */
function shown(result, isFailed) {
  const block = document.createElement("pre");
  block.textContent = result || text("nothingSaid");
  block.tabIndex = 0;
  if (isFailed) block.className = "failed";
  return block;
}
