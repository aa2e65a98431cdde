"""What a foreign `config.json` says about a model's arithmetic, checked key by key.

Families: Llama 1 to 3.x (Yi, MiniCPM5 and others that call themselves `llama`), Mistral, Qwen2 and
Qwen2.5, dense Qwen3, MiniCPM. Whatever else a configuration asks for is refused with key and value.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tongwen.errors import InputError

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "minicpm")
"""Values of `model_type` that can be read."""

ROPE_KINDS = ("linear", "dynamic", "yarn", "llama3")

_DEFAULTS: dict[str, Any] = {
    # What transformers takes when a Llama config.json does not say.
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "initializer_range": 0.02,
    "max_position_embeddings": 2_048,
}
_FAMILY_DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {
        "num_key_value_heads": 8,
        "max_position_embeddings": 131_072,
        "sliding_window": 4_096,
    },
    "qwen2": {"num_key_value_heads": 32, "max_position_embeddings": 32_768},
    "qwen3": {"num_key_value_heads": 32, "max_position_embeddings": 32_768, "head_dim": 128},
    "minicpm": {"tie_word_embeddings": True},
}

_TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How RoPE's frequencies are changed for a window longer than that of pretraining.

    linear: Chen et al. 2023, arXiv:2306.15595. dynamic: its base grows with the length of the text
    (NTK-aware, as transformers has it). yarn: Peng et al. 2023, arXiv:2309.00071. llama3: Llama
    Team 2024, arXiv:2407.21783.

    Attributes:
        kind: one of `ROPE_KINDS`.
        factor: by which the window grows.
        original_tokens: the window of pretraining.
        attention_factor: of yarn; cosine and sine are multiplied by it.
        beta_fast: of yarn; channels that turn more often in the original window stay as they are.
        beta_slow: of yarn; those that turn less often are divided by the factor.
        truncate: of yarn; whether the borders between these are whole channels.
        low_frequency: as `beta_slow`, of llama3.
        high_frequency: as `beta_fast`, of llama3.
    """

    kind: str
    factor: float
    original_tokens: int
    attention_factor: float = 1.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    low_frequency: float = 1.0
    high_frequency: float = 4.0

    def to_huggingface(self) -> dict[str, Any]:
        """As `rope_parameters` has it, without `rope_theta`."""
        values: dict[str, Any] = {"rope_type": self.kind, "factor": self.factor}
        if self.kind in ("yarn", "llama3"):
            values["original_max_position_embeddings"] = self.original_tokens
        if self.kind == "yarn":
            values |= {
                "attention_factor": self.attention_factor,
                "beta_fast": self.beta_fast,
                "beta_slow": self.beta_slow,
                "truncate": self.truncate,
            }
        if self.kind == "llama3":
            values["low_freq_factor"] = self.low_frequency
            values["high_freq_factor"] = self.high_frequency
        return values


def config_fields(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The fields of a `ModelConfig` that a `config.json` decides; `source` is named in errors.

    Raises:
        InputError: a key asks for what the model here does not compute, or one is missing.
    """
    family = values.get("model_type")
    if family not in FAMILIES:
        raise InputError(
            f"{source}: model_type is {family!r}, expected {', '.join(FAMILIES)}",
            hint="dense decoders of these families can be read, with their weights as safetensors",
        )
    _refuse_other_arithmetic(values, source)
    known = {**_DEFAULTS, **_FAMILY_DEFAULTS[family], **_without_none(values)}
    missing = [
        name
        for name in (
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "vocab_size",
        )
        if known.get(name) is None
    ]
    if missing:
        raise InputError(f"{source} lacks {', '.join(missing)}")
    heads, hidden, layers = (
        _whole(known[name], name, source)
        for name in ("num_attention_heads", "hidden_size", "num_hidden_layers")
    )
    known.setdefault("num_key_value_heads", heads)
    known.setdefault("head_dim", hidden // max(1, heads))
    biased = known.get("attention_bias") or False
    theta, scaling = _rope(known, source)
    return {
        "hidden_size": hidden,
        "intermediate_size": _whole(known["intermediate_size"], "intermediate_size", source),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": _whole(known["num_key_value_heads"], "num_key_value_heads", source),
        "head_dim": _whole(known["head_dim"], "head_dim", source),
        "max_position_embeddings": _window(known, scaling, source),
        "rope_theta": theta,
        "rms_norm_eps": float(known["rms_norm_eps"]),
        "tie_word_embeddings": bool(known["tie_word_embeddings"]),
        "initializer_range": float(known["initializer_range"]),
        "qk_norm": family == "qwen3",
        "vocabulary_size": _whole(known["vocab_size"], "vocab_size", source),
        "attention_bias": family == "qwen2" or biased,
        "output_bias": family in ("llama", "qwen3") and biased,
        "mlp_bias": bool(known.get("mlp_bias", False)),
        "rope_scaling": scaling,
        **_windows(family, values, known, layers, source),
        **(_minicpm_scales(known, hidden, layers) if family == "minicpm" else {}),
    }


def kept_text(values: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """A foreign `config.json` as it is kept for export; empty for one that we wrote."""
    known = {*_TOKEN_IDS, "torch_dtype"}
    if {key: value for key, value in values.items() if key not in known} == dict(own):
        return ""
    kept = {key: value for key, value in values.items() if key != "_name_or_path"}
    return json.dumps(kept, ensure_ascii=False, sort_keys=True)


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    # A null window is the statement that there is none; any other null means the default.
    return {
        key: value for key, value in values.items() if value is not None or key == "sliding_window"
    }


def _refuse_other_arithmetic(values: Mapping[str, Any], source: str) -> None:
    family = values["model_type"]
    only: dict[str, tuple[Any, ...]] = {
        "hidden_act": ("silu", None),
        "partial_rotary_factor": (1, None),
        "rope_interleaved": (False, None),
        "is_causal": (True, None),
    }
    if family in ("qwen2", "minicpm", "mistral"):
        only["attention_bias"] = (None, False) if family != "qwen2" else (None, True, False)
    if family != "llama":
        only["mlp_bias"] = (False, None)
    if family in ("llama", "minicpm"):
        only |= {"sliding_window": (None,), "use_sliding_window": (False, None)}
    for key, accepted in only.items():
        if values.get(key) not in accepted:
            raise _refusal(source, key, values[key], f"expected {accepted[0]!r}")
    for key in ("num_experts", "num_local_experts", "n_routed_experts", "sparse_config",
                "kv_lora_rank", "q_lora_rank", "attn_logit_softcapping"):  # fmt: skip
        if values.get(key):
            raise _refusal(source, key, values[key], "which is not supported")


def _refusal(source: str, key: str, value: Any, what: str) -> InputError:
    return InputError(
        f"{source}: {key} is {value!r}, {what}",
        hint="dense Llama, Yi, Mistral, Qwen2, Qwen2.5, Qwen3 and MiniCPM can be read",
    )


def _whole(value: Any, name: str, source: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{source}: {name} is {value!r}, not a whole number")
    return value


def _rope(known: Mapping[str, Any], source: str) -> tuple[float, RopeScaling | None]:
    """RoPE's base and scaling, by the old keys or by `rope_parameters`."""
    theta: Any = known.get("rope_theta", 10_000.0)
    scaling: RopeScaling | None = None
    for key in ("rope_scaling", "rope_parameters"):
        rope = known.get(key) or {}
        if not isinstance(rope, Mapping):
            raise _refusal(source, key, rope, "expected an object")
        for name, value in rope.items():
            if isinstance(value, Mapping):  # as Gemma 3 has it
                what = "expected the same RoPE in all layers"
                raise _refusal(source, f"{key}.{name}", value, what)
        theta = rope.get("rope_theta", theta)
        if rope.get("partial_rotary_factor", 1) != 1:
            raise _refusal(source, f"{key}.partial_rotary_factor",
                           rope["partial_rotary_factor"], "expected 1")  # fmt: skip
        named = "rope_type" if "rope_type" in rope else "type"
        kind = rope.get(named, "default")
        if kind == "default":
            continue
        if kind not in ROPE_KINDS:
            what = f"expected {', '.join(ROPE_KINDS)} or 'default'"
            raise _refusal(source, f"{key}.{named}", kind, what)
        before, scaling = scaling, _scaling(kind, rope, known, f"{source}: {key}")
        if before not in (None, scaling):
            raise InputError(f"{source}: rope_scaling and rope_parameters contradict each other")
    try:
        return float(theta), scaling
    except (TypeError, ValueError) as error:
        raise _refusal(source, "rope_theta", theta, "expected a number") from error


def _scaling(
    kind: str, rope: Mapping[str, Any], known: Mapping[str, Any], source: str
) -> RopeScaling:
    def number(name: str, default: float | None = None) -> float:
        value = rope.get(name)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise InputError(f"{source}.{name} is {value!r}, expected a number above 0")
        return float(value)

    window = known["max_position_embeddings"]
    # MiniCPM, Phi and a few others write it beside `rope_scaling`.
    original = number(
        "original_max_position_embeddings", known.get("original_max_position_embeddings", window)
    )
    if kind == "yarn" and rope.get("factor") is None:
        factor = window / original
    else:
        factor = number("factor")
    if factor < 1:
        raise InputError(f"{source}.factor is {factor:g}, expected 1 or more")
    if kind == "yarn":
        return RopeScaling(
            kind=kind,
            original_tokens=int(original),
            factor=factor,
            attention_factor=_yarn_attention_factor(rope, factor),
            beta_fast=number("beta_fast", 32),
            beta_slow=number("beta_slow", 1),
            truncate=bool(rope.get("truncate", True)),
        )
    if kind == "llama3":
        low, high = number("low_freq_factor"), number("high_freq_factor")
        if high <= low:
            raise InputError(
                f"{source}.high_freq_factor is {high:g}, not above low_freq_factor, {low:g}"
            )
        return RopeScaling(
            kind=kind,
            original_tokens=int(original),
            factor=factor,
            low_frequency=low,
            high_frequency=high,
        )
    return RopeScaling(kind=kind, original_tokens=window, factor=factor)


def _yarn_attention_factor(rope: Mapping[str, Any], factor: float) -> float:
    def temperature(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1 if factor > 1 else 1.0

    if rope.get("attention_factor") is not None:
        return float(rope["attention_factor"])
    scale, scale_all = rope.get("mscale"), rope.get("mscale_all_dim")
    if scale and scale_all:
        return temperature(scale) / temperature(scale_all)
    return temperature(1)


def _window(known: Mapping[str, Any], scaling: RopeScaling | None, source: str) -> int:
    """The longest text. For linear and dynamic scaling `max_position_embeddings` is the window
    before it, as transformers documents; with yarn both customs are found.
    """
    window = _whole(known["max_position_embeddings"], "max_position_embeddings", source)
    if scaling is None or scaling.kind == "llama3":
        return window
    return max(window, round(scaling.original_tokens * scaling.factor))


def _windows(
    family: str, values: Mapping[str, Any], known: Mapping[str, Any], layers: int, source: str
) -> dict[str, Any]:
    """`sliding_window`, and the layers that have it."""
    none: dict[str, Any] = {"sliding_window": None, "windowed_layers": ()}
    if family == "mistral":
        chosen = tuple(range(layers))
    elif family in ("qwen2", "qwen3") and values.get("use_sliding_window"):
        known = {"sliding_window": 4_096, **known}
        chosen = _windowed_by_type(values, layers, source)
    else:
        kinds = set(values.get("layer_types") or ()) - {"full_attention"}
        if kinds:
            raise _refusal(source, "layer_types", sorted(kinds)[0], "expected 'full_attention'")
        return none
    window = known.get("sliding_window")
    if window is None or not chosen:
        return none
    if isinstance(window, bool) or not isinstance(window, int) or window < 1:
        raise _refusal(source, "sliding_window", window, "expected a number of tokens")
    return {"sliding_window": window, "windowed_layers": chosen}


def _windowed_by_type(values: Mapping[str, Any], layers: int, source: str) -> tuple[int, ...]:
    kinds = values.get("layer_types")
    if kinds is None:
        return tuple(range(values.get("max_window_layers", 28), layers))
    if not isinstance(kinds, list) or len(kinds) != layers:
        raise _refusal(source, "layer_types", kinds, f"expected a list of {layers}")
    for kind in kinds:
        if kind not in ("full_attention", "sliding_attention"):
            raise _refusal(source, "layer_types", kind, "expected full or sliding attention")
    return tuple(n for n, kind in enumerate(kinds) if kind == "sliding_attention")


def _minicpm_scales(known: Mapping[str, Any], hidden: int, layers: int) -> dict[str, float]:
    """Hu et al. 2024, arXiv:2404.06395, table 7; the defaults are those of its own code."""
    return {
        "embedding_scale": float(known.get("scale_emb", 1)),
        "residual_scale": float(known.get("scale_depth", 1)) / layers**0.5,
        "output_scale": float(known.get("dim_model_base", 1)) / hidden,
    }
