"""Tuned models of other makers against peft, trl and transformers, on tiny random weights.

    pip install peft trl
    python bench/families_tuned.py            prints a table, family by family
    python bench/families_tuned.py qwen       only those whose name holds `qwen`

Each family of `bench/families.py` is tuned with LoRA by `tongwen tune`. Columns:

    moved    largest change of a float32 logit by tuning: what the other columns could miss
    merged   largest difference between our logits and transformers', of the merged folder
    peft     between the merged folder and the base under the adapter folder, as peft loads it
    DPO      our loss on six pairs, the base as reference and the tuned model as policy
    trl      what trl's DPOTrainer computes, less ours

MiniCPM is not in transformers.
"""

import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import families
import torch
import transformers
from datasets import Dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from tongwen.model.folder import load_model_folder
from tongwen.progress import Progress
from tongwen.road.alone import run_alone
from tongwen.tokenizer.text import Tokenizer
from tongwen.tune.preferences.data import PreferenceSequences, read_pairs
from tongwen.tune.preferences.layouts import preference_pair_of
from tongwen.tune.preferences.objective import PreferenceObjective

BETA = 0.3
PAIRS = [
    {
        "prompt": f"Road {number}? 第{number}条路？",
        "chosen": "It is long. 很长。" * (1 + number % 3),
        "rejected": "短。No." * (1 + number % 2),
    }
    for number in range(6)
]
SETTINGS = (
    "tune.sequence_tokens=64",
    "tune.batch_tokens=256",
    "tune.micro_batch_tokens=256",
    "tune.max_tokens=2048",
    "tune.held_out_share=0",
    "tune.precision='fp32'",
    "tune.peak_learning_rate=2e-2",
    "tune.lora.rank=4",
)


def tuned(base: Path, out: Path) -> Path:
    """A folder with `model/` and `adapter/`, tuned on a dozen dialogues."""
    rows = [{"q": f"{number}?", "a": f"是{number}。 Yes."} for number in range(12)]
    dialogues = out.parent / "dialogues.jsonl"
    dialogues.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run_alone(
        "tune",
        inputs={"model": base, "tokenizer": base},
        out=out,
        recipe="defaults",
        overrides=(*SETTINGS, f"tune.dialogues={json.dumps([str(dialogues)])}"),
    )
    return out


def logits_of(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(ids).logits


def our_logits(folder: Path, ids: torch.Tensor) -> torch.Tensor:
    model, _ = load_model_folder(folder, torch.float32)
    with torch.no_grad():
        return model.logits(model(ids))


def our_loss(policy: Path, reference: Path, pairs: Path, out: Path) -> float:
    """The loss a pair of the tune stage, from packed sequences."""
    data = read_pairs([pairs], Tokenizer.load(policy), 256).training
    objective = PreferenceObjective(
        BETA, [data], sequence_tokens=256, sequences_at_once=2, device=torch.device("cpu"),
        progress=Progress(io.StringIO()),
    )  # fmt: skip
    objective.prepare(
        out, "key", lambda: load_model_folder(reference, torch.float32)[0], torch.float32
    )
    sequences = PreferenceSequences(data, 256, seed=0)
    model, _ = load_model_folder(policy, torch.float32)
    batch = sequences.batch(0, sequences.sequences)
    with torch.no_grad():
        return float(objective.loss_sum(model, batch, torch.float32)) / data.pairs


def their_loss(policy: Path, reference: Path, out: Path) -> float:
    """The same by trl, of the same ids: prompt and answer without padding between them."""
    tokenizer = Tokenizer.load(policy)
    rows = []
    for pair in map(preference_pair_of, PAIRS):
        row: dict[str, Any] = {}
        for name, side in (("chosen", pair.chosen), ("rejected", pair.rejected)):
            ids, wanted = tokenizer.encode_dialogue(side.messages, is_learnt=side.is_learnt)
            first, count = wanted.index(True), sum(wanted)
            row |= {"prompt_ids": ids[:first], f"{name}_ids": ids[first : first + count]}
        rows.append(row)
    fast = PreTrainedTokenizerFast.from_pretrained(reference)
    fast.pad_token = fast.pad_token or fast.eos_token
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32),
        ref_model=AutoModelForCausalLM.from_pretrained(reference, dtype=torch.float32),
        args=DPOConfig(
            str(out), beta=BETA, report_to=[], use_cpu=True, bf16=False, disable_dropout=True
        ),
        train_dataset=Dataset.from_list(PAIRS),
        processing_class=fast,
    )
    batch = DataCollatorForPreference(pad_token_id=fast.pad_token_id)(rows)
    trainer.model.eval()
    with torch.no_grad():
        return float(trainer.compute_loss(trainer.model, batch))


def measure(name: str, folder: Path) -> list[float]:
    """The row of a family."""
    family, base = families.FAMILIES[name], folder / "base"
    families.make_folder(family, base)
    out = tuned(base, folder / "tuned")
    merged = AutoModelForCausalLM.from_pretrained(out / "model", dtype=torch.float32).eval()
    assert type(merged) is family.model
    under = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(under, str(out / "adapter")).eval()
    ids = torch.arange(100)[None]
    ours, theirs = our_logits(out / "model", ids), logits_of(merged, ids)
    pairs = folder / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    loss = our_loss(out / "model", base, pairs, folder)
    return [
        float((ours - our_logits(base, ids)).abs().max()),
        float((ours - theirs).abs().max()),
        float((logits_of(adapted, ids) - theirs).abs().max()),
        loss,
        their_loss(out / "model", base, folder / "trl") - loss,
    ]


def main() -> None:
    chosen = [
        name for name in families.FAMILIES
        if name != "MiniCPM" and all(one.lower() in name.lower() for one in sys.argv[1:])
    ]  # fmt: skip
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print("| family | moved | merged | peft | DPO | trl |\n|---|---|---|---|---|---|")
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            moved, merged, adapted, loss, less = measure(name, Path(folder))
        print(
            f"| {name} | {moved:.2f} | {merged:.1e} | {adapted:.1e} | {loss:.5f} | {less:+.0e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
