"""One GGUF file with weights, tokenizer and chat template, for llama.cpp and what is built on it.

The names of keys and tensors are those of `gguf`, the package of llama.cpp's authors.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from tongwen.errors import InputError
from tongwen.files import disk_errors, read_json
from tongwen.model.config import ModelConfig
from tongwen.model.llama import Llama
from tongwen.model.quantized import grid
from tongwen.model.quantized.folder import (
    base_config_values,
    dequantize_model,
    is_quantized,
    is_quantized_folder,
    load_any_model,
    quantize_model,
)
from tongwen.model.quantized.linear import QuantizedEmbedding, QuantizedLinear
from tongwen.model.rope import scaled_frequencies
from tongwen.tokenizer import folder as files
from tongwen.tokenizer import model_file
from tongwen.tokenizer.fast import FastTokenizer
from tongwen.tokenizer.text import Tokenizer

GgufType = Literal["auto", "f32", "bf16", "f16", "q8_0", "q4_0"]

_ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
_LAYER_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_PRE_TOKENIZERS = {
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+": "qwen2",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+": "llama-bpe",
}
"""How a text is cut before byte-level BPE -> llama.cpp's name for it."""
_GPT2 = "gpt-2"
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)


def write_gguf(folder: Path, file: Path, kind: GgufType = "auto", name: str = "") -> None:
    """Write a model folder as one GGUF file.

    Args:
        folder: with plain, int4 or int8 weights and a tokenizer.
        file: replaced when it is there.
        kind: of the weights; norms and biases are float32. `auto` keeps what the folder has:
            integers as Q4_0 and Q8_0, which are the same numbers, and plain weights as bfloat16.
            With q4_0 the embedding and the head are Q8_0.
        name: of the model; the folder's when empty.

    Raises:
        InputError: llama.cpp does not compute this model or its tokenizer the way it is meant.
        DiskFullError: no space is left.
    """
    try:
        import gguf
    except ImportError as error:
        raise InputError(
            "writing GGUF needs the package gguf", hint="pip install 'tongwen[gguf]'"
        ) from error

    quantized = is_quantized_folder(folder)
    values = base_config_values(folder) if quantized else read_json(folder / "config.json")
    config = ModelConfig.from_huggingface(values, str(folder / "config.json"))
    architecture = _architecture(folder, str(values["model_type"]), config)
    writer = gguf.GGUFWriter(file.with_name(f".{file.name}.partial"), architecture)
    add_shape(writer, config, name or folder.absolute().name)
    _add_tokenizer(writer, folder, Tokenizer.load(folder), config.vocabulary_size)
    model = _with_weights(load_any_model(folder)[0], kind)
    plain = {"f32": torch.float32, "f16": torch.float16}.get(kind, torch.bfloat16)
    add_tensors(writer, model, plain, turns_neighbours=architecture == "llama")
    finish(writer, file)


def finish(writer: Any, file: Path) -> None:
    """Write what a `gguf.GGUFWriter` of `.NAME.partial` was given, whole or not at all.

    Raises:
        DiskFullError: no space is left.
    """
    with disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        file.with_name(f".{file.name}.partial").replace(file)


def _architecture(folder: Path, family: str, config: ModelConfig) -> str:
    """llama.cpp's name of the model's arithmetic.

    Raises:
        InputError: it has no such, or something of the model would be left out.
    """
    scaling = config.rope_scaling
    refused = {
        f"model_type {family!r}": family not in _ARCHITECTURES,
        "a sliding window": bool(config.windowed_layers),
        "biases of this family": family != "qwen2" and config.biases_per_layer != 0,
        "biases of the output or the feed-forward": config.output_bias or config.mlp_bias,
        f"RoPE scaling {scaling.kind if scaling else ''!r}": scaling is not None
        and scaling.kind not in ("linear", "llama3"),
        "a hidden size that is no multiple of 32": bool(config.hidden_size % grid.GROUP),
    }
    for what, is_refused in refused.items():
        if is_refused:
            raise InputError(
                f"{folder} cannot be written as GGUF: {what} is not supported",
                hint=f"{', '.join(_ARCHITECTURES)} without it can; or export for transformers: "
                "tongwen export FOLDER --out DIR",
            )
    return _ARCHITECTURES[family]


def _with_weights(model: Llama, kind: GgufType) -> Llama:
    """The model with plain weights or integers, as the file is to have them."""
    if kind == "auto":
        return model
    if is_quantized(model):
        model = dequantize_model(model)
    if kind in ("q8_0", "q4_0"):
        quantize_model(model, 8 if kind == "q8_0" else 4)
    return model


def add_shape(writer: Any, config: ModelConfig, name: str) -> None:
    """The model's sizes and its rotation, with the factors that scale it."""
    writer.add_name(name)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_vocab_size(config.vocabulary_size)
    scaling = config.rope_scaling
    if scaling is not None and scaling.kind == "linear":
        import gguf

        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling.factor)
    if scaling is not None and scaling.kind == "llama3":
        pairs = torch.arange(0, config.head_dim, 2).float() / config.head_dim
        plain = config.rope_theta**-pairs
        places = torch.zeros(1, 1, dtype=torch.int64)
        scaled = scaled_frequencies(plain, places, config.head_dim, config.rope_theta, scaling)
        writer.add_tensor("rope_freqs.weight", (plain / scaled).float().numpy())


def add_tensors(writer: Any, model: Llama, plain: torch.dtype, *, turns_neighbours: bool) -> None:
    """All weights; integers as they are.

    Args:
        writer: a `gguf.GGUFWriter`.
        model: with plain or quantized weights.
        plain: dtype of plain matrices: float32, float16 or bfloat16.
        turns_neighbours: the architecture turns neighbouring channels, as `llama` does.
    """
    config = model.config
    table: nn.Module = model.model.embed_tokens
    if isinstance(table, QuantizedEmbedding):
        _add_matrix(writer, "token_embd.weight", table.matrix, plain)
    else:
        _add_matrix(writer, "token_embd.weight", table, plain)
    _add_vector(writer, "output_norm.weight", model.model.norm.weight)
    if not config.tie_word_embeddings:
        _add_matrix(writer, "output.weight", model.lm_head, plain)
    for number, layer in enumerate(model.model.layers):
        for ours, theirs in _LAYER_NAMES.items():
            if ours.endswith("_norm") and not config.qk_norm:
                continue
            module = layer.get_submodule(ours)
            target = f"blk.{number}.{theirs}"
            if theirs.endswith("norm"):
                _add_vector(writer, f"{target}.weight", module.get_parameter("weight"))
                continue
            order = None
            if turns_neighbours and theirs in ("attn_q", "attn_k"):
                heads = config.num_attention_heads
                order = _neighbours(
                    heads if theirs == "attn_q" else config.num_key_value_heads, config.head_dim
                )
            _add_matrix(writer, f"{target}.weight", module, plain, order)
            bias = getattr(module, "bias", None)
            if bias is not None:
                _add_vector(writer, f"{target}.bias", bias)


def _neighbours(heads: int, head_dim: int) -> Tensor:
    """Order of output channels in which the two of a rotated pair are neighbours.

    llama.cpp's `llama` turns channels 2i and 2i + 1; ours, as Hugging Face's, d and d + D/2.
    """
    return torch.arange(heads * head_dim).view(heads, 2, head_dim // 2).mT.flatten()


def _add_matrix(
    writer: Any, name: str, module: nn.Module, plain: torch.dtype, order: Tensor | None = None
) -> None:
    import gguf

    kinds = gguf.GGMLQuantizationType
    if isinstance(module, QuantizedLinear):
        rows, scales = module.stored()
        halves = scales.contiguous().view(torch.uint8).view(*scales.shape, 2)
        data = torch.cat([halves, rows.contiguous().view(torch.uint8)], dim=-1).flatten(1)
        kind = kinds.Q4_0 if module.bits == 4 else kinds.Q8_0
        if module.in_features % grid.GROUP:
            raise InputError(
                f"{name} has rows of {module.in_features:,}, which {kind.name} cannot hold: it "
                f"takes multiples of {grid.GROUP}",
                hint="write another type: tongwen export FOLDER --format gguf --type bf16",
            )
    else:
        data = module.get_parameter("weight").detach().to(plain)
        kind = {torch.float32: kinds.F32, torch.float16: kinds.F16}.get(plain, kinds.BF16)
        if kind == kinds.BF16:
            data = data.contiguous().view(torch.uint8)
    data = data if order is None else data[order]
    writer.add_tensor(name, data.contiguous().numpy(), raw_dtype=kind)


def _add_vector(writer: Any, name: str, values: Tensor) -> None:
    writer.add_tensor(name, np.ascontiguousarray(values.detach().float().numpy()))


def _add_tokenizer(writer: Any, folder: Path, tokenizer: Tokenizer, rows: int) -> None:
    """Pieces, how a text is cut into them, where an answer ends, and how dialogues are written."""
    if (folder / files.MODEL_FILE).is_file():
        _add_sentencepiece(writer, folder / files.MODEL_FILE, tokenizer, rows)
    else:
        _add_byte_level(writer, folder / files.FAST_FILE, tokenizer, rows)
    writer.add_add_bos_token(bool(tokenizer.beginning_ids))
    writer.add_add_eos_token(False)
    names = files.special_names(folder)
    for key, add in (
        ("bos_token", writer.add_bos_token_id),
        ("pad_token", writer.add_pad_token_id),
        ("unk_token", writer.add_unk_token_id),
    ):
        number = tokenizer.special_ids.get(names.get(key, ""))
        if number is not None:
            add(number)
    end, *others = _ends(tokenizer, folder)
    writer.add_eos_token_id(end)
    for add, number in zip(
        (writer.add_eot_token_id, writer.add_eom_token_id), others, strict=False
    ):
        add(number)
    template = files.chat_template(folder)
    if template is not None:
        writer.add_chat_template(template)


def _ends(tokenizer: Tokenizer, folder: Path) -> list[int]:
    """Ids that end an answer, the end of a document first.

    Raises:
        InputError: there are more than GGUF has places for.
    """
    document = tokenizer.end_id
    ends = [document, *sorted({*tokenizer.stop_ids} - {document})]
    if len(ends) > 3:
        raise InputError(
            f"{folder} ends an answer at the ids {ends}; GGUF has places for three",
            hint="leave those in eos_token_id of its generation_config.json that the chat "
            "template writes",
        )
    return ends


def _add_sentencepiece(writer: Any, file: Path, tokenizer: Tokenizer, rows: int) -> None:
    model = model_file.read_model(file.read_bytes())
    if model.kind != model_file.BPE or model.has_character_map or not model.escapes_spaces:
        raise InputError(
            f"{file} cannot be written as GGUF: it is a {model.kind_name} model"
            + (" that exchanges characters" if model.has_character_map else ""),
            hint="SentencePiece's BPE without normalization can; or byte-level BPE",
        )
    # The kinds have the numbers of SentencePiece's own.
    pieces = [piece for piece, _, _ in model.pieces]
    scores = [score for _, score, _ in model.pieces]
    kinds = [kind for _, _, kind in model.pieces]
    for piece, number in tokenizer.special_ids.items():
        _grow(pieces, scores, kinds, number + 1)
        pieces[number] = piece
        kinds[number] = _UNKNOWN if kinds[number] == _UNKNOWN else _CONTROL
    _grow(pieces, scores, kinds, rows)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(pieces)
    writer.add_token_scores(scores)
    writer.add_token_types(kinds)
    writer.add_add_space_prefix(model.adds_dummy_prefix)
    writer.add_remove_extra_whitespaces(model.removes_extra_spaces)


def _grow(pieces: list[str], scores: list[float], kinds: list[int], size: int) -> None:
    """Ids that have a row in the model and no piece."""
    for number in range(len(pieces), size):
        pieces.append(f"[UNUSED_{number}]")
        scores.append(-1e4)
        kinds.append(_UNUSED)


def _add_byte_level(writer: Any, file: Path, tokenizer: Tokenizer, rows: int) -> None:
    assert isinstance(tokenizer, FastTokenizer), type(tokenizer)
    rules: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if rules["model"].get("type") != "BPE" or rules["model"].get("byte_fallback"):
        raise InputError(
            f"{file} cannot be written as GGUF: it is no byte-level BPE",
            hint="byte-level BPE can, and SentencePiece's BPE with its tokenizer.model",
        )
    pre = _pre_tokenizer(file, rules.get("pre_tokenizer"))
    pieces: list[str] = []
    scores: list[float] = []
    kinds: list[int] = []
    added = {entry["id"]: entry for entry in rules.get("added_tokens", ())}
    special = {number: piece for piece, number in tokenizer.special_ids.items()}
    for number in range(tokenizer.vocabulary_size):
        piece = tokenizer.piece(number)
        if not piece:
            _grow(pieces, scores, kinds, number + 1)
            continue
        pieces.append(piece)
        is_added = number in added or number in special
        kinds.append(_CONTROL if number in special else _USER_DEFINED if is_added else _NORMAL)
    _grow(pieces, scores, kinds, rows)
    merges = [
        merge if isinstance(merge, str) else " ".join(merge) for merge in rules["model"]["merges"]
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(pieces)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)


def _pre_tokenizer(file: Path, rule: Any) -> str:
    """llama.cpp's name for how a text is split before the merges.

    Raises:
        InputError: it is cut in a way that has no name here.
    """
    parts = (rule or {}).get("pretokenizers", [rule]) if rule else []
    patterns = [part["pattern"].get("Regex") for part in parts if part.get("type") == "Split"]
    if len(patterns) == 1 and patterns[0] in _PRE_TOKENIZERS:
        return _PRE_TOKENIZERS[patterns[0]]
    is_gpt2 = len(parts) == 1 and parts[0].get("type") == "ByteLevel"
    if is_gpt2 and parts[0].get("use_regex", True) and not parts[0].get("add_prefix_space"):
        return _GPT2
    raise InputError(
        f"{file} cannot be written as GGUF: it cuts texts by {patterns or rule!r}",
        hint="tokenizers that cut as Qwen 2, Llama 3 or GPT-2 can",
    )
