"""A server with OpenAI's interface as the model that is evaluated."""

import functools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode adds no path

from model_servers import OddServer, our_server

from tongwen.ask.server import Server
from tongwen.cli.evaluate import command
from tongwen.errors import InputError, TongwenError, UsageError
from tongwen.evaluate.server import endpoint
from tongwen.evaluate.server.echo import Echo, NoEchoError, UnalignedError, read_echo, shared_end
from tongwen.files import read_json, read_jsonl
from tongwen.model.llama import Llama
from tongwen.tokenizer.text import Tokenizer

KEY = "sk-secret-0123456789"
CHOICE = """
description = "capitals"
language = "en"
kind = "choice"
metric = "acc"
prompt = "Question {n}: {q}\\nAnswer:"
choices_field = "choices"
gold_field = "gold"
[data]
format = "jsonl"
"""
ANSWER = """
description = "capitals, written"
language = "en"
kind = "generate"
metric = "contains"
prompt = "Question {n}: {q}\\nAnswer:"
accepted = ["right"]
max_new_tokens = 6
[data]
format = "jsonl"
"""


@pytest.fixture
def tasks(tmp_path: Path) -> list[str]:
    """Options for a task with choices and one without."""
    choices = ["Halden", "the river town of Halden", "翻译馆", "B"]
    rows = [
        {"n": n, "q": q, "choices": choices, "gold": n % 4, "right": choices[n % 4]}
        for n, q in enumerate(["Where is the old market?", "问题：学生在哪里学习？" * 8] * 4)
    ]
    data = tmp_path / "rows.jsonl"
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    data.write_text("".join(lines), encoding="utf-8")
    for name, text in (("capitals", CHOICE), ("written", ANSWER)):
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
    return [f"--task={tmp_path / name}.toml={data}" for name in ("capitals", "written")]


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> Iterator[OddServer]:
    """A server whose oddities a test sets; nobody waits long for it."""
    monkeypatch.setattr(endpoint, "Server", functools.partial(Server, wait_seconds=0.001))
    with OddServer() as server:
        yield server


def evaluate(model: object, out: Path, *options: str) -> None:
    arguments = [str(model), "--out", str(out), *options, "--set", "evaluate.server.attempts=4"]
    command.main(["run", *arguments], standalone_mode=False)


def rows(out: Path, task: str) -> list[dict[str, Any]]:
    return [row for row in read_jsonl(out / "items.jsonl") if row["task"] == task]


def written(out: Path) -> list[bytes]:
    return [(out / name).read_bytes() for name in ("results.json", "items.jsonl")]


def test_our_own_server_scores_as_its_folder(
    model: Llama, tokenizer: Tokenizer, model_folder: Path, tasks: list[str], tmp_path: Path
) -> None:
    with our_server(model, tokenizer) as url:
        evaluate(url, tmp_path / "served", *tasks)
        evaluate(url, tmp_path / "served-chat", tasks[1], "--chat")
    evaluate(model_folder, tmp_path / "folder", *tasks)
    evaluate(model_folder, tmp_path / "folder-chat", tasks[1], "--chat")
    ours, theirs = (rows(tmp_path / name, "capitals") for name in ("folder", "served"))
    assert len(ours) == len(theirs) == 8
    for one, other in zip(ours, theirs, strict=True):
        for key in ("id", "prompt", "predicted", "near_tie", "not_scored"):
            assert one[key] == other[key]
        for choice, served in zip(one["choices"], other["choices"], strict=True):
            assert choice["tokens"] == served["tokens"]
            assert choice["log_probability"] == pytest.approx(served["log_probability"], abs=1e-4)
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-4)
    assert rows(tmp_path / "folder", "written") == rows(tmp_path / "served", "written")
    folder, served = (rows(tmp_path / f"{name}-chat", "written") for name in ("folder", "served"))
    assert [row["answer"] for row in folder] == [row["answer"] for row in served]
    result = CliRunner().invoke(
        command, ["compare", str(tmp_path / "folder"), str(tmp_path / "served")]
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.count("not separable") == 2
    model_json = read_json(tmp_path / "served" / "results.json")["model"]
    assert (model_json["name"], model_json["server"]) == ("small", f"{url}/v1")


def test_a_troubled_server_gives_the_bytes_of_an_honest_one(
    odd: OddServer, tasks: list[str], tmp_path: Path
) -> None:
    evaluate(odd.url, tmp_path / "calm", *tasks)
    odd.troubles = [429, "broken", None, "close", 503, None, "close", *["no_scores", 429, None] * 8]
    odd.troubles[6:6] = [None] * 8  # probes that score; a server without scores is another case
    evaluate(odd.url, tmp_path / "rough", *tasks, "--parallel", "1")
    assert not odd.troubles
    assert written(tmp_path / "rough") == written(tmp_path / "calm")


def test_a_server_that_stays_busy_ends_the_run_after_its_attempts(
    odd: OddServer, tasks: list[str], tmp_path: Path
) -> None:
    odd.troubles = [None] * 9 + [429] * 400
    with pytest.raises(InputError, match=r"no answer in 4 attempts; the last: 429"):
        evaluate(odd.url, tmp_path / "out", *tasks, "--parallel", "1")
    odd.troubles = []
    evaluate(odd.url, tmp_path / "out", *tasks)
    evaluate(odd.url, tmp_path / "calm", *tasks)
    assert written(tmp_path / "out") == written(tmp_path / "calm")


def test_a_killed_run_asks_only_what_is_open_and_writes_the_same_bytes(
    odd: OddServer, tasks: list[str], tmp_path: Path
) -> None:
    evaluate(odd.url, tmp_path / "whole", *tasks)
    asked, probes = len(odd.bodies), 8
    for kill_at in (probes + 3, probes + 35):
        odd.bodies = []

        def on_answer(last: int = kill_at) -> None:
            if len(odd.bodies) == last:
                raise ConnectionAbortedError

        odd.on_answer = on_answer
        out = tmp_path / f"killed-{kill_at}"
        with pytest.raises(TongwenError, match="4 attempts"):
            evaluate(odd.url, out, *tasks, "--parallel", "1")
        kept = len(odd.bodies) - probes
        odd.bodies, odd.on_answer = [], lambda: None
        evaluate(odd.url, out, *tasks)
        assert len(odd.bodies) == asked - kept
        assert written(out) == written(tmp_path / "whole")


def test_another_model_behind_the_address_is_noticed(
    odd: OddServer, tasks: list[str], tmp_path: Path
) -> None:
    odd.troubles = [None] * 20 + [401]
    with pytest.raises(InputError, match="401"):
        evaluate(odd.url, tmp_path / "resumed", *tasks, "--parallel", "1")
    odd.salt = "other"
    with pytest.raises(InputError, match="otherwise than when this evaluation began") as caught:
        evaluate(odd.url, tmp_path / "resumed", *tasks)
    assert "--out" in str(caught.value.hint)

    def change() -> None:
        odd.salt = "x" if len(odd.bodies) > 30 else odd.salt

    odd.bodies, odd.on_answer = [], change
    with pytest.raises(InputError, match="log-probability of a token differs"):
        evaluate(odd.url, tmp_path / "changed-on-the-way", *tasks)
    assert not (tmp_path / "changed-on-the-way" / "results.json").exists()


def test_choices_without_log_probabilities_are_left_out_with_the_reason_or_written(
    odd: OddServer, tasks: list[str], tmp_path: Path
) -> None:
    odd.scores = False
    evaluate(odd.url, tmp_path / "out", *tasks)
    document = read_json(tmp_path / "out" / "results.json")
    assert [result["task"] for result in document["results"]] == ["written"]
    (missing,) = document["missing"]
    assert missing["task"] == "capitals"
    assert "no log-probabilities" in missing["reason"]
    with pytest.raises(InputError, match=r"none of 1 tasks: no log-probabilities") as caught:
        evaluate(odd.url, tmp_path / "alone", tasks[0])
    assert "--written-choices" in str(caught.value.hint)
    evaluate(odd.url, tmp_path / "letters", tasks[0], "--written-choices")
    (result,) = read_json(tmp_path / "letters" / "results.json")["results"]
    assert (result["metric"], result["value"], result["chance"]) == ("letters", 0.25, 0.25)
    assert "the letter is written" in result["protocol"]
    prompt = rows(tmp_path / "letters", "capitals")[0]["prompt"]
    assert "\nA. Halden\nB. the river town of Halden\n" in prompt


def test_a_server_of_dialogues_alone_is_asked_in_dialogues(
    odd: OddServer, tasks: list[str], tmp_path: Path
) -> None:
    odd.completions = False
    with pytest.raises(InputError, match="no /v1/completions"):
        evaluate(odd.url, tmp_path / "plain", *tasks)
    evaluate(odd.url, tmp_path / "chat", *tasks, "--chat", "--written-choices")
    results = read_json(tmp_path / "chat" / "results.json")["results"]
    assert [result["metric"] for result in results] == ["letters", "contains"]


def test_items_that_the_server_refuses_are_counted_and_not_scored(
    odd: OddServer, tasks: list[str], tmp_path: Path
) -> None:
    odd.longest = 100
    evaluate(odd.url, tmp_path / "out", *tasks)
    choices, answers = read_json(tmp_path / "out" / "results.json")["results"]
    assert (choices["n"], choices["not_scored"]["refused"], answers["n"]) == (4, 4, 4)
    assert any("the server refused them" in warning for warning in choices["warnings"])
    refused = [row for row in rows(tmp_path / "out", "capitals") if row["not_scored"]]
    assert {row["not_scored"] for row in refused} == {"refused"}
    assert "characters are too many" in refused[0]["refusal"]


def test_the_key_is_sent_and_is_in_no_file_and_no_message(
    odd: OddServer, tasks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    (tmp_path / "key").write_text(f"{KEY}\n", encoding="utf-8")
    for number, option in enumerate(("--key-variable=MY_KEY", f"--key-file={tmp_path / 'key'}")):
        out = tmp_path / f"out-{number}"
        odd.keys, odd.troubles = set(), [429]
        evaluate(odd.url, out, *tasks, option)
        assert odd.keys == {f"Bearer {KEY}"}
        odd.troubles = [None] * 10 + [403]
        with pytest.raises(InputError, match=r"403.*\*\*\*") as caught:
            evaluate(odd.url, tmp_path / f"refused-{number}", *tasks, option)
        assert KEY not in f"{caught.value}{caught.value.hint}"
        for folder in (out, tmp_path / f"refused-{number}"):
            texts = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
            assert texts
            assert not any(KEY.encode() in text for text in texts)
    (tmp_path / "key").write_text(" \n", encoding="utf-8")
    with pytest.raises(UsageError, match="is empty"):
        evaluate(odd.url, tmp_path / "empty", *tasks, f"--key-file={tmp_path / 'key'}")


def test_options_of_a_server_are_refused_for_a_folder(tmp_path: Path, tasks: list[str]) -> None:
    with pytest.raises(UsageError, match="are for servers"):
        evaluate(tmp_path, tmp_path / "out", *tasks, "--parallel", "2")


def reply(tokens: list[str], offsets: list[int] | None = None, text: str = "x") -> dict[str, Any]:
    values = [None, *(-float(n) for n in range(1, len(tokens)))]
    top = [None if value is None else {"t": value} for value in values]
    scores = {"tokens": tokens, "token_logprobs": values, "top_logprobs": top}
    return {"choices": [{"text": text, "logprobs": scores | {"text_offset": offsets}}]}


@pytest.mark.parametrize(
    ("tokens", "offsets", "ends"),
    [
        (["路", " is", " long", " END"], None, [3, 6, 11]),
        (["<s>", "路", " is", " long"], None, [0, 3, 6, 11]),
        ([" 路", " is", " long"], None, [3, 6, 11]),
        (["bytes:\\xe8\\xb7", "bytes:\\xaf", " is long"], None, [2, 3, 11]),
        (["�", "�", " is", " long"], [0, 0, 1, 4], [3, 3, 6, 11]),
        (["<s>", "�", " is", " long"], [0, 0, 1, 4], [3, 3, 6, 11]),
    ],
)
def test_tokens_are_found_in_the_text_however_they_are_spelled(
    tokens: list[str], offsets: list[int] | None, ends: list[int]
) -> None:
    echo = read_echo(reply(tokens, offsets), "路 is long")
    assert echo.ends == ends
    first = echo.scored_from(6)
    assert echo.ends[first] == 11
    assert echo.log_probability(first) == -float(first)


def test_what_does_not_score_the_text_is_told_apart() -> None:
    with pytest.raises(NoEchoError, match="without log-probabilities"):
        read_echo({"choices": [{"text": "x", "logprobs": None}]}, "路 is long")
    for tokens, offsets in ((["The", " end"], None), (["�", "x"], [0, 3]), (["路"], [5])):
        with pytest.raises(UnalignedError):
            read_echo(reply(tokens, offsets), "路 is long")
    with pytest.raises(KeyError):
        read_echo({"error": "busy"}, "text")


def test_choices_of_a_question_are_scored_from_the_same_place() -> None:
    one = Echo([5, 9, 14], [-1.0, -2.0, -3.0], [True] * 3)
    other = Echo([5, 12], [-1.0, -2.0], [True, False])  # a token reaches over the context's end
    assert shared_end([one, other], 9) == 5
    assert [echo.scored_from(5) for echo in (one, other)] == [1, 1]
    assert shared_end([one, one], 9) == 9
