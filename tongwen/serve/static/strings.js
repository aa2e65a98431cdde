// The interface in English and Chinese. The English keys are the type of the Chinese ones.

const en = {
  newChat: "New chat",
  history: "Conversations",
  settings: "Settings",
  otherLanguage: "中文",
  search: "Search conversations",
  nothingFound: "Nothing found",
  import: "Import",
  renameChat: "Rename “{title}”",
  chatTitle: "Title of the conversation",
  contextUsed: "Context used",
  gauge: "{used} / {limit} tokens",
  export: "Export",
  welcome: "Ask in English or Chinese.",
  welcomeMore: "The model runs on this server. Conversations stay in this browser.",
  noChat: "This model continues texts and was not tuned for dialogues.",
  question1: "Explain in two sentences why the sky is blue.",
  question2: "Translate into Chinese: A long road tests a horse's strength.",
  question3: "Write a Python function that counts the words of a text.",
  aboutModel: "About {name}",
  noCard: "The model's folder has no model card.",
  parameters: "{number} parameters",
  contextWindow: "context window of {tokens} tokens",
  conversation: "Conversation",
  close: "Close",
  editing: "Editing; what is there now is kept as another version",
  cancel: "Cancel",
  askAnything: "Ask something",
  question: "Your question",
  send: "Send",
  stop: "Stop (Esc)",
  enterHint: "Enter sends, Shift + Enter starts a new line",
  attach: "Attach a document",
  readingFile: "Reading {name} …",
  removeDocument: "Remove {name}",
  openDocument: "Open {name}",
  document: "Document",
  tokens: "{tokens} tokens",
  passageAt: "at {share} % of the document",
  showInDocument: "Show in {name}",
  notInDocument: "Not in the document word for word",
  reading: "Reading {processed} of {total} tokens",
  timeLeft: ", about {seconds} s left",
  systemPrompt: "System prompt",
  temperature: "Temperature",
  sampling: "Sampling",
  presetDefault: "Server default",
  presetExact: "Exact: always the likeliest",
  presetBalanced: "Balanced",
  presetFree: "Free",
  presetOwn: "Own values",
  compares: "Two answers side by side",
  secondPreset: "Sampling of the second answer",
  secondUrl: "Server of the second answer",
  thisServer: "this server",
  tools: "Tools that answers may use",
  callRunning: "Calling {name} …",
  callsMade: "Tools called: {number} ({names})",
  nothingSaid: "(nothing)",
  theme: "Theme",
  themeSystem: "As the system",
  themeLight: "Light",
  themeDark: "Dark",
  keyboard: "Keyboard",
  keyboardMore:
    "Enter: send · Shift + Enter: new line · ↑ in the empty box: edit the last question · " +
    "Esc: stop or close · Ctrl/⌘ + K: search · Ctrl/⌘ + Shift + O: new chat",
  maxTokens: "Longest answer, tokens",
  serverDefault: "default",
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
  continue: "Continue",
  goOnWithThis: "Go on with this",
  earlierVersion: "Earlier version",
  laterVersion: "Later version",
  deleteChat: "Delete “{title}”",
  confirmDelete: "Delete “{title}”? This cannot be undone.",
  tokensPerSecond: "{tokens} tokens, {rate} per second",
  endedLength: "Ended at the longest answer allowed.",
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
  errorBusy: "The server is busy.",
  errorBusyMore: "Try again in a moment. Your question is kept below.",
  errorLarge: "This is more than the server accepts at once.",
  errorLargeMore: "Attach a smaller file, or raise serve.body_mib.",
  errorAttachment: "The document cannot be attached.",
  attachmentEncrypted: "It is protected by a password.",
  attachmentMalformed: "It is damaged.",
  attachmentScanned: "Its pages are pictures without text.",
  attachmentTooLarge: "It is too large to be read.",
  attachmentNoText: "There is no text in it.",
  attachmentUnknown: "Text, Markdown, HTML, PDF, EPUB, Word, PowerPoint, Excel, CSV and JSON can be read.",
  attachmentNoReader: "The server has no reader for it: pip install 'tongwen[data,office]'.",
  errorImport: "The file was not imported.",
  errorImportMore: "{name} is not a conversation: JSON with messages that have a role and a content.",
  deletedElsewhere: "This conversation was deleted in another tab.",
  changedElsewhere: "Another tab went on with this conversation.",
  changedElsewhereMore: "Choose it in the list to see its newest messages.",
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
  search: "搜索对话",
  nothingFound: "没有找到",
  import: "导入",
  renameChat: "重命名“{title}”",
  chatTitle: "对话标题",
  contextUsed: "已用上下文",
  gauge: "{used} / {limit} 词元",
  export: "导出",
  welcome: "用中文或英文提问。",
  welcomeMore: "模型在这台服务器上运行，对话只保存在这个浏览器里。",
  noChat: "这个模型只会续写文本，没有针对对话微调。",
  question1: "用两句话解释天空为什么是蓝色的。",
  question2: "翻译成英文：路遥知马力，日久见人心。",
  question3: "写一个统计文本字数的 Python 函数。",
  aboutModel: "关于 {name}",
  noCard: "模型文件夹里没有模型卡。",
  parameters: "{number} 参数",
  contextWindow: "上下文窗口 {tokens} 词元",
  conversation: "对话",
  close: "关闭",
  editing: "正在修改；原来的内容会保留为另一个版本",
  cancel: "取消",
  askAnything: "输入问题",
  question: "您的问题",
  send: "发送",
  stop: "停止（Esc）",
  enterHint: "Enter 发送，Shift + Enter 换行",
  attach: "添加文档",
  readingFile: "正在读取 {name} …",
  removeDocument: "移除 {name}",
  openDocument: "打开 {name}",
  document: "文档",
  tokens: "{tokens} 词元",
  passageAt: "位于文档的 {share}% 处",
  showInDocument: "在 {name} 中查看",
  notInDocument: "文档中没有这句原文",
  reading: "已读 {processed} / {total} 词元",
  timeLeft: "，约剩 {seconds} 秒",
  systemPrompt: "系统提示词",
  temperature: "温度",
  sampling: "采样",
  presetDefault: "服务器默认",
  presetExact: "精确：总取最可能的词元",
  presetBalanced: "均衡",
  presetFree: "发散",
  presetOwn: "自定义",
  compares: "并排给出两个回答",
  secondPreset: "第二个回答的采样",
  secondUrl: "第二个回答的服务器",
  thisServer: "本服务器",
  tools: "回答可用的工具",
  callRunning: "正在调用 {name} …",
  callsMade: "调用了 {number} 次工具（{names}）",
  nothingSaid: "（无内容）",
  theme: "外观",
  themeSystem: "跟随系统",
  themeLight: "浅色",
  themeDark: "深色",
  keyboard: "键盘",
  keyboardMore:
    "Enter：发送 · Shift + Enter：换行 · 空输入框中按 ↑：修改上一个问题 · " +
    "Esc：停止或关闭 · Ctrl/⌘ + K：搜索 · Ctrl/⌘ + Shift + O：新对话",
  maxTokens: "回答上限（词元）",
  serverDefault: "默认",
  apiKey: "API 密钥",
  apiKeyHint: "服务器要求时填写",
  storedHere: "只保存在这个浏览器里。",
  done: "完成",
  you: "您",
  model: "模型",
  copy: "复制",
  copied: "已复制",
  copyFailed: "复制失败",
  edit: "修改",
  regenerate: "重新生成",
  continue: "继续",
  goOnWithThis: "采用这个回答",
  earlierVersion: "上一个版本",
  laterVersion: "下一个版本",
  deleteChat: "删除“{title}”",
  confirmDelete: "删除“{title}”？删除后无法恢复。",
  tokensPerSecond: "{tokens} 个词元，每秒 {rate} 个",
  endedLength: "已达到回答上限。",
  endedStopped: "已停止。",
  endedError: "回答中断。",
  errorContext: "超出了模型的上下文长度。",
  errorContextNumbers:
    "问题连同对话共需 {needed} 个词元，这个模型最多读 {limit} 个。请缩短问题，或开始新对话。",
  errorNetwork: "无法连接服务器。",
  errorNetworkMore: "请确认它仍在运行。您的问题保留在下面。",
  errorKey: "服务器要求 API 密钥。",
  errorKeyMore: "请在设置中填写。",
  errorServer: "服务器拒绝了请求。",
  errorBusy: "服务器正忙。",
  errorBusyMore: "请稍后再试。您的问题保留在下面。",
  errorLarge: "超出了服务器一次接受的大小。",
  errorLargeMore: "请添加较小的文件，或调高 serve.body_mib。",
  errorAttachment: "无法添加这个文档。",
  attachmentEncrypted: "文档有密码保护。",
  attachmentMalformed: "文档已损坏。",
  attachmentScanned: "页面都是图片，没有文字。",
  attachmentTooLarge: "文档太大，无法读取。",
  attachmentNoText: "文档里没有文字。",
  attachmentUnknown: "可以读取文本、Markdown、HTML、PDF、EPUB、Word、PowerPoint、Excel、CSV 和 JSON。",
  attachmentNoReader: "服务器没有装这种文档的读取组件：pip install 'tongwen[data,office]'。",
  errorImport: "文件没有导入。",
  errorImportMore: "{name} 不是对话：需要含有 messages 的 JSON，每条消息有 role 和 content。",
  deletedElsewhere: "这段对话已在另一个标签页中删除。",
  changedElsewhere: "另一个标签页继续了这段对话。",
  changedElsewhereMore: "在列表中点选它，即可看到最新的消息。",
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
