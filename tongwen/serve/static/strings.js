// The interface in English and Chinese. The English keys are the type of the Chinese ones.

const en = {
  newChat: "New chat",
  history: "Conversations",
  settings: "Settings",
  otherLanguage: "中文",
  contextUsed: "Context used",
  gauge: "{used} / {limit} tokens",
  export: "Export",
  welcome: "Ask in English or Chinese.",
  welcomeMore: "The model runs on this server. Conversations stay in this browser.",
  conversation: "Conversation",
  close: "Close",
  editing: "Editing your last question",
  cancel: "Cancel",
  askAnything: "Ask something",
  question: "Your question",
  send: "Send",
  stop: "Stop (Esc)",
  enterHint: "Enter sends, Shift + Enter starts a new line",
  systemPrompt: "System prompt",
  temperature: "Temperature",
  maxTokens: "Longest answer, tokens",
  serverDefault: "server default",
  apiKey: "API key",
  apiKeyHint: "if the server asks for one",
  storedHere: "Kept in this browser only.",
  done: "Done",
  you: "You",
  model: "Model",
  copy: "Copy",
  copied: "Copied",
  copyFailed: "Could not copy",
  edit: "Edit",
  regenerate: "Regenerate",
  earlierVersion: "Earlier version",
  laterVersion: "Later version",
  deleteChat: "Delete “{title}”",
  confirmDelete: "Delete “{title}”? This cannot be undone.",
  tokensPerSecond: "{tokens} tokens, {rate} per second",
  endedLength: "Ended at the longest answer allowed. Raise it in the settings.",
  endedStopped: "Stopped.",
  endedError: "The answer broke off.",
  errorContext: "Too long for this model.",
  errorContextNumbers:
    "The question and the conversation need {needed} tokens; this model reads {limit}. " +
    "Shorten the question or start a new chat.",
  errorNetwork: "The server cannot be reached.",
  errorNetworkMore: "Is it still running? Your question is kept below.",
  errorKey: "The server asks for an API key.",
  errorKeyMore: "Enter it in the settings.",
  errorServer: "The server refused the request.",
  errorCut: "The connection was lost before the answer ended.",
  errorStorage: "The browser's storage is full.",
  errorStorageMore: "Export this conversation and delete old ones.",
};

/** @type {Record<keyof typeof en, string>} */
const zh = {
  newChat: "新对话",
  history: "对话记录",
  settings: "设置",
  otherLanguage: "English",
  contextUsed: "已用上下文",
  gauge: "{used} / {limit} 词元",
  export: "导出",
  welcome: "用中文或英文提问。",
  welcomeMore: "模型在这台服务器上运行，对话只保存在这个浏览器里。",
  conversation: "对话",
  close: "关闭",
  editing: "正在修改上一个问题",
  cancel: "取消",
  askAnything: "输入问题",
  question: "你的问题",
  send: "发送",
  stop: "停止（Esc）",
  enterHint: "Enter 发送，Shift + Enter 换行",
  systemPrompt: "系统提示词",
  temperature: "温度",
  maxTokens: "回答上限（词元）",
  serverDefault: "服务器默认",
  apiKey: "API 密钥",
  apiKeyHint: "服务器要求时填写",
  storedHere: "只保存在这个浏览器里。",
  done: "完成",
  you: "你",
  model: "模型",
  copy: "复制",
  copied: "已复制",
  copyFailed: "复制失败",
  edit: "修改",
  regenerate: "重新生成",
  earlierVersion: "上一个版本",
  laterVersion: "下一个版本",
  deleteChat: "删除“{title}”",
  confirmDelete: "删除“{title}”？删除后无法恢复。",
  tokensPerSecond: "{tokens} 个词元，每秒 {rate} 个",
  endedLength: "已达到回答上限，可在设置中调高。",
  endedStopped: "已停止。",
  endedError: "回答中断。",
  errorContext: "超出了模型的上下文长度。",
  errorContextNumbers:
    "问题连同对话共需 {needed} 个词元，这个模型最多读 {limit} 个。请缩短问题，或开始新对话。",
  errorNetwork: "无法连接服务器。",
  errorNetworkMore: "请确认它仍在运行。你的问题保留在下面。",
  errorKey: "服务器要求 API 密钥。",
  errorKeyMore: "请在设置中填写。",
  errorServer: "服务器拒绝了请求。",
  errorCut: "连接在回答结束之前断开了。",
  errorStorage: "浏览器存储空间已满。",
  errorStorageMore: "请导出这段对话，并删除旧的对话。",
};

export const dictionaries = { en, zh };

/** @typedef {keyof typeof en} Key */
/** @typedef {keyof typeof dictionaries} Language */

/** @type {Language} */
let language = "en";

/** The language that the browser prefers, of the two there are. @returns {Language} */
export function preferredLanguage() {
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

/** @returns {Language} */
export function currentLanguage() {
  return language;
}

/**
 * Switch the interface and everything in the page that carries a `data-text`,
 * `data-label` or `data-placeholder`.
 * @param {Language} chosen
 */
export function useLanguage(chosen) {
  language = chosen;
  document.documentElement.lang = chosen === "zh" ? "zh-Hans" : "en";
  for (const element of document.querySelectorAll("[data-text], [data-label], [data-placeholder]")) {
    const { text: key, label, placeholder } = /** @type {HTMLElement} */ (element).dataset;
    if (key) element.textContent = text(/** @type {Key} */ (key));
    if (label) setLabel(/** @type {HTMLElement} */ (element), /** @type {Key} */ (label));
    if (placeholder) element.setAttribute("placeholder", text(/** @type {Key} */ (placeholder)));
  }
}

/** Name an element for screen readers; buttons show the name as a tooltip as well.
 * @param {HTMLElement} element
 * @param {Key} key
 * @param {Record<string, string | number>} [values]
 */
export function setLabel(element, key, values) {
  element.setAttribute("aria-label", text(key, values));
  if (element instanceof HTMLButtonElement) element.title = text(key, values);
}

/**
 * A text of the interface; `{name}` in it is replaced from `values`, numbers as the language
 * writes them.
 * @param {Key} key
 * @param {Record<string, string | number>} [values]
 */
export function text(key, values = {}) {
  return dictionaries[language][key].replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    return typeof value === "number" ? value.toLocaleString(language) : (value ?? whole);
  });
}

/** The language of a message, for fonts and screen readers. @param {string} content */
export function languageOf(content) {
  return /\p{Script=Han}/u.test(content) ? "zh-Hans" : "en";
}
