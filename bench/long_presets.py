"""Each 200K preset's whole road at a tiny shape, to an exported folder that transformers reads with
equal logits at the window's end.

    python bench/long_presets.py                     # all three, and one text of 200,000 tokens
    python bench/long_presets.py --text-tokens 0     # without that text, which takes minutes

`tongwen run` on a recipe that takes everything from the preset but shape, tokens and sources: crawl
to pretraining at a short window, extension to the preset's own window, export. The window is met by
positions that jump over it (`extend.position_reach`); a sequence of so many tokens takes minutes
even here. Exit code 1 where logits differ by more than 1e-3.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tongwen.road.recipe import load_recipe, preset_names

ROOT = Path(__file__).resolve().parents[1]
COMPARED = 64
LARGEST_DIFFERENCE = 1e-3

RECIPE = """base = "{preset}"
tune = false
evaluate = false
quantize = false

[run]
name = "tiny"

[[crawl.sources]]
name = "documents"
path = "{documents}"
license = "Apache-2.0"
trusted = true

[tokenizer]
vocabulary_size = 1_000

[model]
hidden_size = 16
intermediate_size = 32
num_hidden_layers = 1
num_attention_heads = 1
num_key_value_heads = 1
head_dim = 16
max_position_embeddings = 256

[pretrain]
max_tokens = 4_096
sequence_tokens = 256
batch_tokens = 1_024
micro_batch_tokens = 1_024

[extend]
max_tokens = 8_192
sequence_tokens = 1_024
position_reach = {window}
batch_tokens = 4_096
micro_batch_tokens = 4_096
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    presets = sorted(name for name in preset_names() if name.endswith("200k"))
    parser.add_argument("--preset", nargs="+", choices=presets, default=presets)
    parser.add_argument("--text-tokens", type=int, default=200_000)
    parser.add_argument("--documents", type=Path, default=ROOT / "docs" / "zh" / "how-to")
    arguments = parser.parse_args()
    worst = 0.0
    print("| preset | window | RoPE base | tokens | last positions | largest difference of logits "
          "| CPU s, ours | CPU s, transformers |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for preset in arguments.preset:
            model = _exported(preset, arguments.documents, Path(folder) / preset)
            tokens = [COMPARED]
            if preset == arguments.preset[0] and arguments.text_tokens:
                tokens.append(arguments.text_tokens)
            for number in tokens:
                worst = max(worst, _compare(preset, model, number))
    return 0 if worst <= LARGEST_DIFFERENCE else 1


def _exported(preset: str, documents: Path, folder: Path) -> Path:
    """The model folder at the end of `tongwen run` on the preset, shrunk."""
    extend = load_recipe(preset).extend
    assert extend is not None
    folder.mkdir()
    recipe = folder / "tiny.toml"
    recipe.write_text(
        RECIPE.format(preset=preset, documents=documents, window=extend.window), encoding="utf-8"
    )
    command = [sys.executable, "-m", "tongwen", "run", recipe, "--runs", folder]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"{preset}: tongwen run failed\n{run.stderr}")
    return folder / "tiny" / "model"


def _compare(preset: str, folder: Path, tokens: int) -> float:
    """The largest difference of the last logits for so many tokens at the window's end."""
    import torch
    from transformers import LlamaForCausalLM

    from tongwen.model.folder import load_model_folder

    torch.set_num_threads(1)
    model, config = load_model_folder(folder, torch.float32)
    theirs = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    window = json.loads((folder / "config.json").read_text())["max_position_embeddings"]
    generator = torch.Generator().manual_seed(1)
    ids_BT = torch.randint(3, config.vocabulary_size, (1, tokens), generator=generator)
    positions_BT = torch.arange(window - tokens, window)[None]
    with torch.inference_mode():
        started = time.process_time()
        ours = model.logits(model(ids_BT, positions_BT=positions_BT)[:, -COMPARED:])
        between = time.process_time()
        other = theirs(
            ids_BT, position_ids=positions_BT, use_cache=False, logits_to_keep=COMPARED
        ).logits
        ended = time.process_time()
    difference = float((ours - other).abs().max())
    print(
        f"| {preset} | {window:,} | {config.rope_theta:,.0f} | {tokens:,} | "
        f"{window - COMPARED:,} to {window - 1:,} | {difference:.1e} | {between - started:.1f} | "
        f"{ended - between:.1f} |",
        flush=True,
    )
    return difference


if __name__ == "__main__":
    sys.exit(main())
