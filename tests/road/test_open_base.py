"""From another maker's model to an exported one, with its tokenizer, template and architecture."""

import importlib.util
import io
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2ForCausalLM

from tongwen.cli.doctor import model_facts
from tongwen.errors import InputError
from tongwen.flow.local import InProcessRunner
from tongwen.formats.documents import DOCUMENT_SCHEMA
from tongwen.formats.shards import Shard
from tongwen.model.folder import load_model_folder
from tongwen.progress import Progress
from tongwen.road.alone import run_loaded
from tongwen.road.check import check_road
from tongwen.road.recipe import Recipe, load_recipe
from tongwen.road.run import stages_of
from tongwen.tokenizer.text import Tokenizer

TEXTS = ("The quick brown fox, 1,234 times; don't panic! ", "同文馆的学生每天早上学习翻译。")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(__file__).parents[2] / "bench" / "families.py"
    spec = importlib.util.spec_from_file_location("bench_families_of_base", path)
    assert spec is not None
    assert spec.loader is not None
    families = importlib.util.module_from_spec(spec)
    sys.modules["bench_families_of_base"] = families
    spec.loader.exec_module(families)
    folder = tmp_path_factory.mktemp("base") / "qwen"
    families.make_folder(families.FAMILIES["Qwen2, windows"], folder)
    return folder


def recipe_of(base: Path, folder: Path, *overrides: str) -> Recipe:
    dialogues = folder / "dialogues.jsonl"
    rows = [
        [
            {"role": "user", "content": f"{number}?"},
            {"role": "assistant", "content": f"是{number}。"},
        ]
        for number in range(8)
    ]
    dialogues.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    few = "{sequence_tokens = 64, batch_tokens = 128, max_tokens = 256, warmup_share = 0.1"
    return load_recipe(
        "defaults",
        [
            f"pretrain={few}, base = {json.dumps(str(base))}}}",
            f"tune={few}, dialogues = [{json.dumps(str(dialogues))}]}}",
            "encode.validation_share=0",
            "export.dtype=float32",
            *overrides,
        ],
    )


def test_a_qwen_folder_is_continued_tuned_and_exported_as_what_it_was(
    base: Path, tmp_path: Path
) -> None:
    recipe = recipe_of(base, tmp_path)
    out = {name: tmp_path / name for name in ("tokenizer", "encode", "pretrain", "tune", "export")}
    documents = tmp_path / "curate"
    documents.mkdir()
    empty = dict.fromkeys(DOCUMENT_SCHEMA.names, "") | {"warc_offset": 0}
    rows = [
        empty | {"doc_id": f"{number:032x}", "lang": "en", "text": TEXTS[number % 2] * 6}
        for number in range(12)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA), documents / "part.parquet")

    def run(name: str, **inputs: Path) -> None:
        progress = Progress(io.StringIO())
        runner = InProcessRunner(progress=progress)
        run_loaded(name, recipe, inputs=inputs, out=out[name], runner=runner, progress=progress)

    tokenizer = out["tokenizer"]
    run("tokenizer", documents=documents)
    run("encode", documents=documents, tokenizer=tokenizer)
    run("pretrain", shards=out["encode"], tokenizer=tokenizer)
    run("tune", model=out["pretrain"], tokenizer=tokenizer)
    run("export", model=out["tune"], tokenizer=tokenizer)

    read = Tokenizer.load(base)
    shard = Shard.open(out["encode"] / "train-00000.shard", tokenizer_digest=read.digest)
    assert read.decode(shard.document(0).tolist()) in {text * 6 for text in TEXTS}
    assert shard.document(0)[-1] == read.special_ids["<|endoftext|>"]

    exported = out["export"] / "model"
    theirs = AutoModelForCausalLM.from_pretrained(exported).eval()
    assert type(theirs) is Qwen2ForCausalLM
    before, after = (json.loads((one / "config.json").read_text()) for one in (base, exported))
    assert after == before
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (exported / name).read_bytes() == (base / name).read_bytes()
    stops = json.loads((exported / "generation_config.json").read_text())["eos_token_id"]
    assert stops == sorted(read.special_ids[end] for end in ("<|endoftext|>", "<|im_end|>"))
    for name in ("manifest.json", "report.json"):
        assert not (exported / name).exists()
    ours, _ = load_model_folder(exported)
    old, _ = load_model_folder(base)
    ids = torch.arange(60)[None]
    with torch.no_grad():
        logits = ours.logits(ours(ids))
        torch.testing.assert_close(logits, theirs(ids).logits, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(logits, old.logits(old(ids)), atol=1e-3)  # it has learnt
    assert "Qwen2 architecture" in (exported / "README.md").read_text()


def test_what_a_base_cannot_do_is_known_before_any_work(base: Path, tmp_path: Path) -> None:
    recipe = recipe_of(base, tmp_path)
    check_road(recipe, stages_of(recipe))
    changed = tmp_path / "changed"
    changed.mkdir()
    for file in base.iterdir():
        (changed / file.name).write_bytes(file.read_bytes())
    values = json.loads((base / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps(values | {"intermediate_size": 96}))
    recipe = recipe_of(changed, tmp_path)
    with pytest.raises(InputError, match=r"has shape \(80, 48\), expected \(96, 48\)|has shape"):
        check_road(recipe, stages_of(recipe))
    (changed / "config.json").write_text(json.dumps(values))
    (changed / "chat_template.jinja").unlink()
    rules = (changed / "tokenizer.json").read_text()
    (changed / "tokenizer.json").write_text(rules.replace("<|im_start|>", "<|other|>"))
    with pytest.raises(InputError, match="neither a chat template") as caught:
        check_road(recipe_of(changed, tmp_path), stages_of(recipe))
    assert "tongwen tokenizer grow" in str(caught.value.hint)


def test_doctor_says_what_a_folder_is(base: Path) -> None:
    facts = model_facts(base)
    assert facts["architecture"] == "Qwen2ForCausalLM"
    assert (facts["sliding_window"], facts["window_tokens"]) == (24, 256)
    assert facts["has_chat"]
