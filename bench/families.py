"""Open model families against transformers, on tiny random weights.

    python bench/families.py            prints a table, family by family
    python bench/families.py qwen       only those whose name holds `qwen`

For each family a folder is written by transformers: sharded safetensors, `tokenizer.json` alone, a
chat template, a list of stop ids. Columns:

    logits      largest difference of float32 logits, of a text longer than window and RoPE's start
    ids         texts and dialogues encoded to the ids of transformers
    greedy      24 tokens written from three prompts, as text
    template    dialogues in the folder's own template
    round trip  exported, then loaded by transformers: same class, same logits, no key lost
"""

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import (
    AddedToken,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tongwen.model.folder import load_model_folder, save_model_folder
from tongwen.model.generate import generate
from tongwen.tokenizer.text import Tokenizer

TEXTS = (
    "The quick brown fox, 1,234 times; don't panic!\n\n\tIndented  twice.",
    "同文馆的学生每天早上学习翻译，一共有100卷。“读书要多想。”",
    "",
    " leading and trailing ",
    "mixed 中英 text 🙂 café naïve ▁ underscore",
    "plain <|im_end|> in a text",
)
DIALOGUES = (
    [{"role": "user", "content": "Hello, who are you?"}],
    [
        {"role": "system", "content": "Answer briefly. 简短回答。"},
        {"role": "user", "content": " 你好！ "},
        {"role": "assistant", "content": "你好，有什么可以帮您？"},
        {"role": "user", "content": "1 + 1 = ?\n"},
    ],
)

CHATML = (
    "{%- if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nBe kind.<|im_end|>\\n' }}"
    "{%- endif %}{%- for m in messages %}"
    "{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
HEADERS = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim }}"
    "{{ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{% endif %}"
)
INSTRUCTIONS = (
    "{{ bos_token }}{% set ns = namespace(system='') %}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{% set ns.system = m['content'] + '\n\n' %}"
    "{% elif m['role'] == 'user' %}{{ '[INST] ' + ns.system + m['content'] + ' [/INST]' }}"
    "{% set ns.system = '' %}"
    "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)

_SHAPE = {
    "vocab_size": 520,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "rms_norm_eps": 1e-5,
}
_QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}


@dataclass(frozen=True)
class Family:
    """A family as transformers makes it.

    Attributes:
        config: its class.
        model: its class.
        values: keys of its configuration beside the tiny shape.
        tokenizer: `bytes`, `headers` or `spaces`: which of three kinds it has.
        minicpm: keys of MiniCPM, which transformers computes as a Llama with scaled weights.
    """

    config: Any
    model: Any
    values: dict[str, Any]
    tokenizer: str = "bytes"
    minicpm: dict[str, Any] | None = None


def _llama(tokenizer: str = "spaces", **values: Any) -> Family:
    return Family(LlamaConfig, LlamaForCausalLM, values, tokenizer)


def _rope(**values: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_theta": 10_000.0, **values}}


FAMILIES = {
    "Llama 1": _llama(num_key_value_heads=4, **_rope(rope_type="default")),
    "Llama 2, linear": _llama(**_rope(rope_type="linear", factor=2.0)),
    "Llama, dynamic": _llama(max_position_embeddings=64, **_rope(rope_type="dynamic", factor=4.0)),
    "Llama 3.1, llama3": _llama("headers", **_rope(**_LLAMA3)),
    "Llama 3.2, tied": _llama("headers", tie_word_embeddings=True, **_rope(**_LLAMA3)),
    "Llama, yarn": _llama(**_rope(**_YARN)),
    "Llama, all biases": _llama(attention_bias=True, mlp_bias=True, **_rope(rope_type="default")),
    "Yi": _llama("bytes", rms_norm_eps=1e-6, **_rope(rope_type="default", rope_theta=5e6)),
    "Mistral, window": Family(MistralConfig, MistralForCausalLM, {"sliding_window": 24}, "spaces"),
    "Mistral Nemo": Family(
        MistralConfig, MistralForCausalLM, {"sliding_window": None, "head_dim": 16}, "bytes"
    ),
    "Qwen2": Family(Qwen2Config, Qwen2ForCausalLM, {"tie_word_embeddings": True}),
    "Qwen2.5, yarn": Family(Qwen2Config, Qwen2ForCausalLM, _rope(**_YARN)),
    "Qwen2, windows": Family(
        Qwen2Config,
        Qwen2ForCausalLM,
        {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 1},
    ),
    "Qwen3": Family(Qwen3Config, Qwen3ForCausalLM, {"head_dim": 32, "tie_word_embeddings": True}),
    "Qwen3, biases": Family(
        Qwen3Config, Qwen3ForCausalLM, {"head_dim": 16, "attention_bias": True}
    ),
    "MiniCPM": Family(
        LlamaConfig,
        LlamaForCausalLM,
        {},
        "spaces",
        {"scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 16},
    ),
}


def byte_level_tokenizer(specials: list[str]) -> tokenizers.Tokenizer:
    """Byte-level BPE as Qwen and Llama 3 have it, its text normalized to NFC."""
    made = tokenizers.Tokenizer(models.BPE())
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(
                tokenizers.Regex(_QWEN_WORDS),
                "isolated",
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )  # fmt: skip
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=alphabet, show_progress=False, special_tokens=[]
    )
    made.train_from_iterator([*TEXTS, *TEXTS], trainer)
    made.add_special_tokens([AddedToken(piece, special=True) for piece in specials])
    made.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    return made


def space_mark_tokenizer() -> tokenizers.Tokenizer:
    """BPE with byte fallback and a space before the text, as Llama 2 and Mistral have it."""
    made = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    bytes_of = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<unk>", "<s>", "</s>", *bytes_of], show_progress=False
    )
    made.train_from_iterator([*TEXTS, *TEXTS], trainer)
    values = json.loads(made.to_str())
    values["added_tokens"] = [one for one in values["added_tokens"] if one["id"] < 3]
    made = tokenizers.Tokenizer.from_str(json.dumps(values))
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    return made


def make_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """One of three tokenizers with its chat template."""
    if kind == "spaces":
        return PreTrainedTokenizerFast(
            tokenizer_object=space_mark_tokenizer(),
            bos_token="<s>",
            eos_token="</s>",
            unk_token="<unk>",
            chat_template=INSTRUCTIONS,
        )
    if kind == "headers":
        pieces = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>",
                  "<|end_header_id|>", "<|eot_id|>"]  # fmt: skip
        made = byte_level_tokenizer(pieces)
        begin = made.token_to_id(pieces[0])
        made.post_processor = processors.TemplateProcessing(
            single=f"{pieces[0]} $A", special_tokens=[(pieces[0], begin)]
        )
        return PreTrainedTokenizerFast(
            tokenizer_object=made, bos_token=pieces[0], eos_token="<|eot_id|>",
            chat_template=HEADERS,
        )  # fmt: skip
    made = byte_level_tokenizer(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>",
        chat_template=CHATML,
    )  # fmt: skip


def make_folder(family: Family, folder: Path) -> nn.Module:
    """Write a folder as its makers publish it; gives the model that computes its logits."""
    tokenizer = make_tokenizer(family.tokenizer)
    config = family.config(**_SHAPE | {"bos_token_id": 1} | family.values)
    torch.manual_seed(0)
    model = family.model(config).eval()
    for name, parameter in model.named_parameters():
        if "norm" in name:  # all ones would hide a norm in the wrong place
            nn.init.uniform_(parameter, 0.5, 1.5)
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    stops = [tokenizer.eos_token_id]
    model.generation_config = GenerationConfig(eos_token_id=stops, pad_token_id=0)
    model.save_pretrained(folder, max_shard_size="60KB")
    tokenizer.save_pretrained(folder)
    if family.minicpm is not None:
        _as_minicpm(folder, model, family.minicpm)
    return model


def _as_minicpm(folder: Path, model: nn.Module, scales: dict[str, Any]) -> None:
    """MiniCPM's configuration, and in the model that compares its factors inside the weights."""
    values = json.loads((folder / "config.json").read_text())
    values |= {"model_type": "minicpm", "architectures": ["MiniCPMForCausalLM"], **scales}
    values["tie_word_embeddings"] = False
    (folder / "config.json").write_text(json.dumps(values))
    branch = scales["scale_depth"] / values["num_hidden_layers"] ** 0.5
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name == "model.embed_tokens.weight":
                parameter *= scales["scale_emb"]
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                parameter *= branch
            elif name == "lm_head.weight":
                parameter *= scales["dim_model_base"] / values["hidden_size"]


def logit_difference(theirs: nn.Module, folder: Path) -> float:
    """The largest difference of float32 logits over two rows of 120 tokens."""
    ours, _ = load_model_folder(folder, torch.float32)
    ids = torch.randint(0, 500, (2, 120), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return float((ours.logits(ours(ids)) - theirs(ids).logits).abs().max())


def has_equal_ids(folder: Path) -> bool:
    theirs, ours = PreTrainedTokenizerFast.from_pretrained(folder), Tokenizer.load(folder)
    for text in TEXTS:
        found = [*ours.beginning_ids, *ours.encode(text, allow_special=True)]
        if found != theirs(text)["input_ids"]:
            return False
        if ours.decode(found) != theirs.decode(found, skip_special_tokens=True):
            return False
    return True


def has_equal_dialogues(folder: Path) -> bool:
    theirs, ours = PreTrainedTokenizerFast.from_pretrained(folder), Tokenizer.load(folder)
    for messages in DIALOGUES:
        for prompt in (False, True):
            expected = theirs.apply_chat_template(
                messages, add_generation_prompt=prompt, tokenize=True, return_dict=False
            )
            found, _ = ours.encode_dialogue(messages, add_generation_prompt=prompt)
            if found != expected:
                return False
    return True


def has_equal_answers(theirs: Any, folder: Path) -> bool:
    """Greedy text of three prompts, the longest beyond every window."""
    ours, _ = load_model_folder(folder, torch.float32)
    tokenizer = Tokenizer.load(folder)
    fast = PreTrainedTokenizerFast.from_pretrained(folder)
    prompts = [fast(text)["input_ids"] for text in (TEXTS[0], TEXTS[1], " ".join(TEXTS) * 2)]
    prompts = [prompt[:100] for prompt in prompts]
    answers = generate(ours.eval(), prompts, max_new_tokens=24, stop_ids=tokenizer.stop_ids)
    for prompt, answer in zip(prompts, answers, strict=True):
        with torch.no_grad():
            whole = theirs.generate(
                torch.tensor([prompt]), max_new_tokens=24, do_sample=False,
                eos_token_id=list(tokenizer.stop_ids), pad_token_id=0,
            )  # fmt: skip
        ids = whole[0, len(prompt) :].tolist()
        if ids and ids[-1] in tokenizer.stop_ids:
            ids.pop()
        expected = fast.decode(ids, skip_special_tokens=True)
        is_whole = "\ufffd" not in expected  # the two libraries mark broken UTF-8 differently
        if answer != ids or (is_whole and tokenizer.decode(answer) != expected):
            return False
    return True


def comes_back(theirs: nn.Module, family: Family, folder: Path, out: Path) -> bool:
    """Whether an exported folder is the architecture it was, with its keys and its logits."""
    model, _ = load_model_folder(folder, torch.float32)
    save_model_folder(out, model, folder, torch.float32)
    before, after = (json.loads((one / "config.json").read_text()) for one in (folder, out))
    if before != after or not has_equal_ids(out):
        return False
    if family.minicpm is not None:  # transformers has no class of its own for it
        return logit_difference(theirs, out) < 1e-4
    again = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    ids = torch.arange(100)[None]
    with torch.no_grad():
        return type(again) is family.model and torch.equal(again(ids).logits, theirs(ids).logits)


def measure(name: str, folder: Path) -> dict[str, Any]:
    """The row of a family."""
    family = FAMILIES[name]
    theirs = make_folder(family, folder / "theirs")
    source = folder / "theirs"
    return {
        "logits": logit_difference(theirs, source),
        "ids": has_equal_ids(source),
        "greedy": has_equal_answers(theirs, source),
        "template": has_equal_dialogues(source),
        "round trip": comes_back(theirs, family, source, folder / "out"),
    }


def main(show: Callable[[str], None] = print) -> None:
    chosen = [name for name in FAMILIES if all(one.lower() in name.lower() for one in sys.argv[1:])]
    transformers.logging.disable_progress_bar()
    show(f"{'family':20} {'logits':>9}  ids    greedy template round trip")
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            row = measure(name, Path(folder))
        words = {True: "equal", False: "OTHER"}
        show(
            f"{name:20} {row['logits']:9.1e}  {words[row['ids']]:6} {words[row['greedy']]:6} "
            f"{words[row['template']]:8} {words[row['round trip']]}"
        )


if __name__ == "__main__":
    main()
