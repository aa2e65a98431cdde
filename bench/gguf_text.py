"""Whether an exported GGUF file says what its folder says: 20 prompts, three programs.

    python bench/gguf_text.py --llama-cpp FOLDER                     a random model of 2 M weights
    python bench/gguf_text.py --llama-cpp FOLDER --model runs/sample
    python bench/gguf_text.py --llama-cpp FOLDER --type q8_0         beside our own int8

Ids of every prompt as dialogue and as text, greedy answers by ours, transformers and llama.cpp, and
the ids that end an answer. Plain types are computed in float32 by ours and by transformers;
quantized ones by ours and llama.cpp alone. Where llama.cpp comes from: see `decode.py`.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from decode_peers import LlamaCpp
from transformers import AutoModelForCausalLM, AutoTokenizer

from tongwen.export.gguf import write_gguf
from tongwen.model.config import ModelConfig
from tongwen.model.folder import save_model_folder
from tongwen.model.generate import generate
from tongwen.model.llama import Llama
from tongwen.model.quantized.folder import load_any_model, quantize_model
from tongwen.stages import find_model_folder
from tongwen.tokenizer.export import write_tokenizer_folder
from tongwen.tokenizer.text import Tokenizer
from tongwen.tokenizer.train import train_model

QUESTIONS = (
    "Where does the road end?", "这条路通向哪里？", "What is 12 + 30?", "老人住在哪座城？",
    "  Two spaces first", "第1条路很长吗？", "Name the river.", "请介绍一下灯塔。",
    "naïve café", "《潮汐表》是谁写的？", "1234567890", "今天星期几？\n请回答。",
    "tabs\tand\nlines\n\n", "你好", "Hello", "👩‍👩‍👧 是一家人", "def f(x):\n    return x", "。。。",
    "Who keeps the lamp?", "谁守着灯？",
)  # fmt: skip
_QUANTIZED = {"q8_0": 8, "q4_0": 4}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llama-cpp", type=Path, required=True, help="folder with libllama.so")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--type", default="f32", choices=["f32", "bf16", "q8_0", "q4_0"])
    parser.add_argument("--tokens", type=int, default=24)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "random"
        if arguments.model:
            folder = find_model_folder(arguments.model)
        else:
            random_folder(folder)
        file = Path(temporary) / "model.gguf"
        write_gguf(folder, file, arguments.type)
        compare(folder, file, arguments)


def compare(folder: Path, file: Path, arguments: argparse.Namespace) -> None:
    model, _ = load_any_model(folder, torch.float32)
    bits = _QUANTIZED.get(arguments.type)
    if bits is not None:
        quantize_model(model, bits)
    if arguments.type == "bf16":
        for parameter in model.parameters():
            parameter.data = parameter.data.bfloat16().float()
    tokenizer, theirs = Tokenizer.load(folder), AutoTokenizer.from_pretrained(folder)
    peer = LlamaCpp(arguments.llama_cpp, file, 1, 1)
    counts = dict.fromkeys(("text_ids", "dialogue_ids", "llama_cpp", "transformers"), 0)
    other = None
    if bits is None:
        other = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        other.load_state_dict({**other.state_dict(), **model.state_dict()})
    for question in QUESTIONS:
        messages = [{"role": "user", "content": question}]
        ids, _ = tokenizer.encode_dialogue(messages, add_generation_prompt=True)
        text = theirs.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        counts["text_ids"] += peer.tokenize(question) == tokenizer.encode(question)
        counts["dialogue_ids"] += peer.tokenize(text) == ids
        answer = generate(
            model, [ids], max_new_tokens=arguments.tokens, stop_ids=tokenizer.stop_ids
        )[0]
        counts["llama_cpp"] += peer.greedy(ids, arguments.tokens) == answer
        if other is not None:
            whole = other.generate(
                torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.int64),
                max_new_tokens=arguments.tokens, do_sample=False,
                eos_token_id=list(tokenizer.stop_ids), pad_token_id=0,
            )  # fmt: skip
            found = [i for i in whole[0, len(ids) :].tolist() if i not in tokenizer.stop_ids]
            counts["transformers"] += found == answer
    if other is None:
        counts.pop("transformers")
    ends = {"ours": sorted(tokenizer.stop_ids), "llama_cpp": peer.ends()}
    print(json.dumps({"type": arguments.type, "prompts": len(QUESTIONS), "equal": counts,
                      "ends": ends}))  # fmt: skip
    peer.close()


def random_folder(folder: Path) -> None:
    """A model with weights wide enough apart that its choices are clear."""
    texts = [f"{question} The road {number} is long. 第{number}条路很长。"
             for number, question in enumerate(QUESTIONS * 5)]  # fmt: skip
    files = folder.with_name("tokenizer")
    files.mkdir(parents=True)
    write_tokenizer_folder(train_model(texts, vocabulary_size=480), files)
    model = Llama(
        ModelConfig(
            hidden_size=128,
            intermediate_size=352,
            num_hidden_layers=6,
            num_attention_heads=8,
            num_key_value_heads=2,
            head_dim=16,
            max_position_embeddings=512,
            initializer_range=0.2,
            vocabulary_size=480,
        )
    )
    model.initialize(0)
    save_model_folder(folder, model, files, torch.float32)


if __name__ == "__main__":
    main()
