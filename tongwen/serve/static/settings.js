// Settings in the browser's local storage, and the dialog in which they are changed.

import { find, onClick } from "./dom.js";
import { serversOff, showServers } from "./tools.js";

/**
 * @typedef {"default" | "exact" | "balanced" | "free" | "own"} Preset
 * @typedef {{ temperature: number | null, topP: number | null, minP: number | null }} Sampling
 * @typedef {Sampling & { language: "en" | "zh" | null, theme: "system" | "light" | "dark",
 *   systemPrompt: string, maxTokens: number | null, apiKey: string, compares: boolean,
 *   secondUrl: string, secondPreset: Exclude<Preset, "own">, serversOff: string[] }} Settings
 */

const PLACE = "tongwen.settings";
const NOTHING = { temperature: null, topP: null, minP: null };

/** @type {Record<Exclude<Preset, "own">, Sampling>} */
export const PRESETS = {
  default: NOTHING,
  exact: { ...NOTHING, temperature: 0 },
  balanced: { ...NOTHING, temperature: 0.7, topP: 0.9 },
  free: { temperature: 1, topP: 0.95, minP: 0.05 },
};

/** @type {Settings} */
const DEFAULTS = {
  ...NOTHING, language: null, theme: "system", systemPrompt: "", maxTokens: null, apiKey: "",
  compares: false, secondUrl: "", secondPreset: "balanced", serversOff: [],
};

/** @returns {Settings} */
export function readSettings() {
  try {
    return { ...DEFAULTS, ...JSON.parse(localStorage.getItem(PLACE) ?? "{}") };
  } catch {
    return { ...DEFAULTS };
  }
}

/** @param {Settings} settings */
export function writeSettings(settings) {
  localStorage.setItem(PLACE, JSON.stringify(settings));
}

/** The fields of a request. @param {Sampling} sampling */
export function samplingFields({ temperature, topP, minP }) {
  return {
    ...(temperature !== null && { temperature }),
    ...(topP !== null && { top_p: topP }),
    ...(minP !== null && { min_p: minP }),
  };
}

/** @param {Settings} settings */
export function showTheme({ theme }) {
  document.documentElement.dataset.theme = theme;
}

/** @param {Sampling} sampling @returns {Preset} */
function presetOf(sampling) {
  const names = /** @type {Exclude<Preset, "own">[]} */ (Object.keys(PRESETS));
  const same = (/** @type {Sampling} */ preset) =>
    preset.temperature === sampling.temperature && preset.topP === sampling.topP && preset.minP === sampling.minP;
  return names.find((name) => same(PRESETS[name])) ?? "own";
}

/** Open the dialog from its button and take over what was entered when it is closed.
 * @param {Settings} settings changed in place
 * @param {{ opening: () => void, changed: () => void }} page
 */
export function attachDialog(settings, { opening, changed }) {
  const dialog = find("settings", HTMLDialogElement);
  const field = (/** @type {string} */ id) => find(id, HTMLInputElement);
  const number = (/** @type {string} */ id) => {
    const value = field(id).valueAsNumber;
    return Number.isNaN(value) ? null : value;
  };
  const sampling = () => ({ temperature: number("temperature"), topP: number("top-p"), minP: number("min-p") });
  const showSampling = (/** @type {Sampling} */ shown) => {
    field("temperature").value = String(shown.temperature ?? "");
    field("top-p").value = String(shown.topP ?? "");
    field("min-p").value = String(shown.minP ?? "");
  };
  const preset = find("preset", HTMLSelectElement);
  preset.addEventListener("change", () => {
    if (preset.value !== "own") showSampling(PRESETS[/** @type {keyof typeof PRESETS} */ (preset.value)]);
  });
  for (const id of ["temperature", "top-p", "min-p"]) {
    field(id).addEventListener("input", () => (preset.value = presetOf(sampling())));
  }
  field("compares").addEventListener("change", () => {
    find("second", HTMLElement).hidden = !field("compares").checked;
  });
  onClick("open-settings", () => {
    opening();
    showSampling(settings);
    preset.value = presetOf(settings);
    find("system-prompt", HTMLTextAreaElement).value = settings.systemPrompt;
    field("max-tokens").value = String(settings.maxTokens ?? "");
    field("api-key").value = settings.apiKey;
    field("compares").checked = settings.compares;
    find("second", HTMLElement).hidden = !settings.compares;
    field("second-url").value = settings.secondUrl;
    find("second-preset", HTMLSelectElement).value = settings.secondPreset;
    find("theme", HTMLSelectElement).value = settings.theme;
    showServers(settings);
    dialog.showModal();
  });
  dialog.addEventListener("close", () => {
    Object.assign(settings, sampling(), {
      systemPrompt: find("system-prompt", HTMLTextAreaElement).value.trim(),
      maxTokens: number("max-tokens"),
      apiKey: field("api-key").value.trim(),
      compares: field("compares").checked,
      secondUrl: field("second-url").value.trim(),
      secondPreset: find("second-preset", HTMLSelectElement).value,
      theme: find("theme", HTMLSelectElement).value,
      serversOff: serversOff(settings.serversOff),
    });
    writeSettings(settings);
    showTheme(settings);
    changed();
  });
}
