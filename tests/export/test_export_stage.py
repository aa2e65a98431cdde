"""What leaves the run: transformers computes the same, and all files agree."""

import json
import re
from pathlib import Path

import pytest
import sentencepiece
import torch
from click.testing import CliRunner
from transformers import AutoModelForCausalLM, AutoTokenizer

from tongwen.cli.export import command
from tongwen.errors import InputError, TongwenError
from tongwen.export.card import CardFacts, model_card
from tongwen.export.stage import check_logits, check_stop_ids
from tongwen.files import read_json, write_json
from tongwen.model.folder import load_model_folder, read_config
from tongwen.model.generate import generate
from tongwen.tokenizer import special
from tongwen.tokenizer.special import chat_prompt
from tongwen.tokenizer.text import Tokenizer
from tongwen.tokenizer.verify import verify_folder

FUNNEL = {
    "read": {"pages": 2_000, "characters": 1_234_567, "raw_bytes": 9},
    "kept": [
        {"lang": "en", "pages": 700, "characters": 400_000, "raw_bytes": 4},
        {"lang": "zh-Hans", "pages": 600, "characters": 300_000, "raw_bytes": 3},
    ],
    "dropped": [],
    "stages": [
        {"stage": "rules", "in": {}, "out": {}, "dropped": {"pages": 700, "characters": 534_567}},
        {"stage": "never", "in": {}, "out": {}, "dropped": {"pages": 0, "characters": 0}},
    ],
}
RESULT = {
    "task": "world|answers",
    "language": "zh",
    "metric": "exact_match",
    "value": 0.9125,
    "chance": 0.25,
    "n": 1_040,
}


def export(model: Path, out: Path, *options: str) -> Path:
    arguments = [str(model), "--out", str(out), "--set", "run.name=little", *options]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def exported(small_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "little"
    return export(small_model_folder, out, "--set", "export.dtype=float32")


def test_transformers_computes_the_same_logits_and_the_same_answer(exported: Path) -> None:
    ours, _ = load_model_folder(exported)
    theirs = AutoModelForCausalLM.from_pretrained(exported, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(exported)
    messages = [{"role": "user", "content": "第1条路很长吗？ 👩‍👩‍👧 The road"}]
    prompt = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    ids, _ = Tokenizer.load(exported).encode_dialogue(messages, add_generation_prompt=True)
    assert prompt["input_ids"][0].tolist() == ids
    assert tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=False
    ) == chat_prompt(messages)
    with torch.no_grad():
        torch.testing.assert_close(
            ours.logits(ours(torch.tensor([ids]))), theirs(**prompt).logits, rtol=1e-4, atol=1e-4
        )
        answer = theirs.generate(**prompt, max_new_tokens=20)[0, len(ids) :].tolist()
    expected = generate(ours, [ids], max_new_tokens=20, stop_ids=(2, 7))[0]
    assert [number for number in answer if number not in (2, 7)] == expected


def test_every_file_names_the_same_stop_ids(exported: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(exported)
    assert tokenizer.eos_token_id == 2
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") == 7
    for name in ("generation_config.json", "config.json"):
        assert json.loads((exported / name).read_text())["eos_token_id"] == [2, 7]
    check_stop_ids(exported)


def test_every_file_gives_every_special_piece_the_same_id(exported: Path) -> None:
    """The pieces, ids and roles of `special.py`, read from each file by itself."""
    ids = {piece: number for number, piece in enumerate(special.SPECIAL_PIECES)}
    model = sentencepiece.SentencePieceProcessor(model_file=str(exported / "tokenizer.model"))
    fast = json.loads((exported / "tokenizer.json").read_text(encoding="utf-8"))
    config = read_json(exported / "tokenizer_config.json")
    assert [model.id_to_piece(number) for number in range(14)] == list(ids)
    assert all(model.is_control(number) for number in range(1, 14))
    assert {token["content"]: token["id"] for token in fast["added_tokens"]} == ids
    assert {piece: fast["model"]["vocab"][piece] for piece in ids} == ids
    assert {
        item["content"]: int(number) for number, item in config["added_tokens_decoder"].items()
    } == ids
    roles = {"bos": special.BOS_ID, "eos": special.EOS_ID, "pad": special.PAD_ID}
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        pieces = read_json(exported / name)
        assert {role: ids[pieces[f"{role}_token"]] for role in roles} == roles
    for name in ("config.json", "generation_config.json"):
        values = read_json(exported / name)
        assert {role: values[f"{role}_token_id"] for role in ("bos", "pad")} == {
            role: roles[role] for role in ("bos", "pad")
        }
    assert (model.bos_id(), model.eos_id(), model.unk_id()) == (1, 2, 0)
    stops = read_json(exported / "generation_config.json")["eos_token_id"]
    assert stops == list(special.STOP_IDS) == [ids[special.EOS], ids[special.IM_END]]
    assert read_json(exported / "config.json")["eos_token_id"] == stops
    assert not [item for item in verify_folder(exported) if item.passed is False]


def test_bfloat16_halves_the_weights_and_stays_the_default(
    small_model_folder: Path, exported: Path, tmp_path: Path
) -> None:
    folder = export(small_model_folder, tmp_path / "half")
    sizes = [(path / "model.safetensors").stat().st_size for path in (folder, exported)]
    assert 0.45 < sizes[0] / sizes[1] < 0.55
    assert "bfloat16" in (folder / "README.md").read_text()


def test_the_same_command_again_gives_the_same_files_and_no_others(
    small_model_folder: Path, tmp_path: Path
) -> None:
    folder = export(small_model_folder, tmp_path / "twice")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    export(small_model_folder, tmp_path / "twice")
    assert before == {file.name: file.read_bytes() for file in folder.iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == ["twice"]


def test_an_exported_folder_holds_the_model_alone_and_anyone_may_read_it(exported: Path) -> None:
    assert {file.name for file in exported.iterdir()} == {
        "README.md", "config.json", "generation_config.json", "model.safetensors",
        "special_tokens_map.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
    }  # fmt: skip
    assert exported.stat().st_mode & 0o055 == 0o055
    assert all(file.stat().st_mode & 0o044 == 0o044 for file in exported.iterdir())


def test_a_folder_that_computes_something_else_is_refused(exported: Path) -> None:
    model, _ = load_model_folder(exported)
    check_logits(exported, model)
    with torch.no_grad():
        model.model.norm.weight[0] += 1e-3
    with pytest.raises(TongwenError, match="other logits"):
        check_logits(exported, model)


def test_files_that_disagree_on_the_end_of_an_answer_are_refused(
    exported: Path, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.model").write_bytes((exported / "tokenizer.model").read_bytes())
    write_json(tmp_path / "generation_config.json", {"eos_token_id": [2]})
    with pytest.raises(TongwenError, match=r"\[2\].*\[2, 7\]"):
        check_stop_ids(tmp_path)


def test_a_missing_tokenizer_is_refused(small_model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    options = ["--tokenizer", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]
    with pytest.raises(InputError, match="no tokenizer"):
        CliRunner().invoke(command, [str(small_model_folder), *options], catch_exceptions=False)


def test_the_card_tells_what_the_run_recorded(small_model_folder: Path, tmp_path: Path) -> None:
    for folder, name, value in (
        ("curate", "funnel.json", FUNNEL),
        ("evaluate", "results.json", {"results": [RESULT]}),
    ):
        (tmp_path / folder).mkdir()
        write_json(tmp_path / folder / name, value)
    options = [
        item for role in ("curate", "evaluate") for item in (f"--{role}", str(tmp_path / role))
    ]
    card = (export(small_model_folder, tmp_path / "out", *options) / "README.md").read_text()
    for text in ("# little", "2,000", "zh-Hans", "600", "534,567", "91.2 %", "1,040", "25.0 %"):
        assert text in card, text
    assert "world\\|answers" in card
    assert "never" not in card
    parameters = read_config(small_model_folder).parameters
    assert f"{parameters:,}" in card
    front = card.split("---\n")[1]
    assert "- en\n- zh\n" in front
    assert 'license: "apache-2.0"' in front


def test_a_card_without_a_run_has_no_empty_parts(small_model_folder: Path) -> None:
    config = read_config(small_model_folder)
    facts = CardFacts(name="x", license="mit", config=config, dtype="float32")
    card = model_card(facts)
    assert re.findall(r"^## (\w+)", card, re.MULTILINE) == ["Model", "Use"]
    trained = CardFacts(
        name="x", license="mit", config=config, dtype="float32",
        encoded={"tokens": 5_000}, trained={"pretrain": {"tokens": 4e6, "steps": 250}},
    )  # fmt: skip
    assert "4,000,000 | 250" in model_card(trained)


def test_the_card_carries_what_was_forecast_of_the_losses_and_what_came(
    small_model_folder: Path,
) -> None:
    band = {"expected": 2.0, "low": 1.9, "high": 2.1}
    bits = {"what": "bits_per_byte", "language": "zh", "tokens": 4_000_000, **band}
    time = {"what": "seconds", **band, "outcome": 777.0, "residual": 387.5}
    settlement = {
        "rows": [
            {**bits, "outcome": 2.012, "residual": 0.006},
            {**bits, "language": "en", "outcome": None, "residual": None},
            time,
        ]
    }
    facts = CardFacts(
        name="x", license="mit", config=read_config(small_model_folder), dtype="float32",
        settled={"pretrain": settlement},
    )  # fmt: skip
    card = model_card(facts)
    assert "| zh | 4,000,000 | 2.000 | 1.900 – 2.100 | 2.012 | +0.6% |" in card
    assert "| en | 4,000,000 | 2.000 | 1.900 – 2.100 | – | – |" in card
    assert "`forecast.json`" in card
    assert "777" not in card  # differs between runs that end with the same bytes
