"""Dialogues as people have them: every layout, kind of file and encoding, token by token."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from dialogue_files import FILES, MESSAGES, Turn, lines, messages_of, parquet, turns

from tongwen.errors import InputError, RecipeError
from tongwen.serve.openai import parse_request
from tongwen.serve.settings import ServeSettings
from tongwen.tokenizer.special import IM_END_ID, IM_START_ID
from tongwen.tokenizer.text import Tokenizer
from tongwen.train.data.sequences import PackedSequences
from tongwen.train.loss.softmax import IGNORED
from tongwen.tune.check import check_files
from tongwen.tune.dialogues import DialogueData, read_dialogues
from tongwen.tune.layouts import dialogue_of
from tongwen.tune.settings import PairSettings, TuneSettings


@pytest.fixture
def tokenizer(small_tokenizer_folder: Path) -> Tokenizer:
    return Tokenizer.load(small_tokenizer_folder)


def read(path: Path, data: bytes, tokenizer: Tokenizer, **options: Any) -> DialogueData:
    path.write_bytes(data)
    return read_dialogues([path], tokenizer, 1_024, **options)


def tokens_of(tokenizer: Tokenizer, dialogue: tuple[Turn, ...]) -> tuple[list[int], list[bool]]:
    """Ids of a dialogue, and which are learnt, put together by hand."""
    ids, wanted = [], []
    newline = tokenizer.encode("\n")
    for role, content, is_learnt in dialogue:
        head = [IM_START_ID, *tokenizer.encode(role), *newline]
        body = [*tokenizer.encode(content), IM_END_ID]
        ids += [*head, *body, *newline]
        wanted += [False] * len(head) + [is_learnt] * len(body) + [False] * len(newline)
    return ids, wanted


@pytest.mark.parametrize("name", FILES)
def test_the_targets_are_exactly_the_answers(
    name: str, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    file = FILES[name]
    data = read(tmp_path / file.name, file.data, tokenizer)
    ids, wanted = [], []
    for dialogue in file.dialogues:
        more_ids, more_wanted = tokens_of(tokenizer, dialogue)
        ids += more_ids
        wanted += more_wanted
    assert data.documents.parts[0].tolist() == ids
    assert data.documents.is_target is not None
    assert data.documents.is_target.tolist() == wanted
    (counts,) = data.files
    assert counts.layouts == {file.layout: len(file.dialogues)}
    assert (counts.bad_rows, counts.too_long, counts.without_answer) == (0, 0, 0)

    # What the loss is handed: each target is the learnt token that comes next.
    sequences = PackedSequences(data.documents, 1_024, seed=0)
    batch = sequences.batch(0, sequences.sequences)
    targets = batch.targets_BT[batch.targets_BT != IGNORED].tolist()
    learnt = [number for number, is_learnt in zip(ids, wanted, strict=True) if is_learnt]
    assert sorted(targets) == sorted(learnt)


@pytest.mark.parametrize("name", ["text parts", "tools", "functions"])
def test_the_api_asks_with_the_turns_that_tuning_taught(name: str) -> None:
    file = FILES[name]
    row = json.loads(file.data)
    body = {"model": "any", "messages": row["messages"]}
    request = parse_request(body, is_chat=True, settings=ServeSettings())
    assert request.messages == dialogue_of(row).messages
    assert [(turn["role"], turn["content"]) for turn in request.messages] == [
        turn[:2] for turn in file.dialogues[0]
    ]


def test_layouts_may_be_mixed_in_a_file_and_are_counted(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    rows = lines(*MESSAGES, {"instruction": "Say hi", "output": "hi"})
    data = read(tmp_path / "a.jsonl", rows, tokenizer)
    assert data.files[0].line() == "a.jsonl: 3 dialogues (messages 2, Alpaca 1)"


def test_columns_that_are_null_in_a_row_do_not_count(tmp_path: Path, tokenizer: Tokenizer) -> None:
    empty = dict.fromkeys(("messages", "prompt", "completion", "chosen", "rejected"))
    rows = [{**empty, **MESSAGES[0]}, {**empty, "prompt": "hi", "completion": "yo"}]
    data = read(tmp_path / "a.parquet", parquet(rows), tokenizer)
    assert data.files[0].layouts == {"messages": 1, "prompt/completion": 1}
    assert not data.files[0].unused
    data = read(
        tmp_path / "a.jsonl",
        lines(
            {"prompt": None, "question": "hi", "answer": "yo"},
            {"question": "hi", "answer": float("nan")},
        ),
        tokenizer,
    )
    assert (data.dialogues, data.files[0].empty_answers) == (1, 1)


def test_fields_without_a_part_in_the_dialogue_are_counted(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    answer = {"role": "assistant", "content": "4", "reasoning_content": "2 and 2", "name": ""}
    row = {"id": 7, "tools": [], "messages": [{"role": "user", "content": "2+2?"}, answer]}
    data = read(tmp_path / "a.jsonl", lines(row, *MESSAGES), tokenizer)
    assert data.files[0].unused == {"id": 1, "messages[].reasoning_content": 1}
    assert "unused fields: id 1, messages[].reasoning_content 1" in data.files[0].line()
    assert data.left_out()["unused_fields"] == 2


def test_empty_answers_are_counted_and_not_learnt_unless_wanted(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    rows = [messages_of(turns("hi", " ")), messages_of(turns("hi", "", "hello?", "yes"))]
    data = read(tmp_path / "a.jsonl", lines(*rows), tokenizer)
    assert (data.dialogues, data.files[0].without_answer, data.files[0].empty_answers) == (1, 1, 2)
    assert data.answer_tokens == len(tokenizer.encode("yes")) + 1
    kept = read(tmp_path / "a.jsonl", lines(*rows), tokenizer, keep_empty_answers=True)
    assert (kept.dialogues, kept.files[0].empty_answers) == (2, 2)
    with pytest.raises(InputError, match=r"no dialogue has an answer to learn: a\.jsonl: 0"):
        read(tmp_path / "a.jsonl", lines(rows[0]), tokenizer)


def test_a_few_malformed_rows_are_left_out_and_named_and_many_are_refused(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    good = lines(*(row for _ in range(60) for row in MESSAGES))
    broken = good + b'{"messages": \n'
    data = read(tmp_path / "a.jsonl", broken, tokenizer)
    assert (data.dialogues, data.files[0].bad_rows) == (120, 1)
    assert "1 malformed row (the first: line 121: not JSON" in data.files[0].line()
    message = r"a.jsonl, line 121: not JSON.*\(2 of 122 rows malformed; tune.maximum_bad_rows"
    with pytest.raises(InputError, match=message):
        read(tmp_path / "a.jsonl", broken + b'"hi"\n', tokenizer)
    data = read(tmp_path / "a.jsonl", broken + b'"hi"\n', tokenizer, maximum_bad_rows=0.02)
    assert data.left_out()["bad_rows"] == 2


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", lines({"prompt": "hi", "chosen": "yo", "rejected": "no"}), "a preference pair"),
        ("a.parquet", parquet([{"chosen": MESSAGES[0]["messages"],
                                "rejected": MESSAGES[1]["messages"]}]), "a preference pair"),
        ("a.json", json.dumps([{"conversations": [{"from": "human", "value": "hi"}],
                                "chosen": {"from": "gpt", "value": "yo"},
                                "rejected": {"from": "gpt", "value": "no"}}]).encode(),
         "a preference pair"),
        ("a.jsonl", lines({"prompt": "hi", "completion": "no", "label": False}),
         "an answer judged good or bad"),
        ("a.jsonl", lines({"input": {"messages": []}, "preferred_output": [{}],
                           "non_preferred_output": [{}]}), "a preference pair"),
        ("a.csv", b"question,answer\nhi,yo\nhi,yo,oh\n", "row 2: 3 cells, but the header has 2"),
        ("a.csv", b"question,answer,answer\nhi,yo,no\n", "names 'answer' more than once"),
        ("a.parquet", parquet([{"question": b"\xff", "answer": b"yo"}]), "bytes that are not"),
        ("a.jsonl", lines({"query": "hi", "response": "yo", "rejected_response": "no"}),
         "a preference pair"),
        ("a.jsonl", lines({**MESSAGES[0], "rejected_response": "no"}), "a preference pair"),
        ("a.csv", b"one,two\nhi,yo\n", r"no known layout \(fields of the row: one, two\)"),
        ("a.jsonl", lines({"instruction": "x", "output": {"a": 1}}),
         "the field 'output' is an object"),
        ("a.jsonl", lines({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
         "message 1: `content` holds a part of type 'image_url'"),
        ("a.jsonl", lines({"messages": [{"role": "assistant", "content": "x", "weight": 0.5}]}),
         "message 1: `weight` is 0.5; it must be 0 or 1"),
        ("a.jsonl", lines({"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]}),
         r"`tool_calls\[0\].function` must be an object with a `name`"),
        ("a.csv", b"question,answer\n", "has no rows"),
        ("a.jsonl", b"[" * 100_000, "line 1: not JSON"),
        ("a.txt", "只是一段话。\n".encode(), "it is plain text"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(50), "it is of the kind image"),
    ],
)  # fmt: skip
def test_what_cannot_be_learnt_is_named_with_its_place(
    name: str, data: bytes, message: str, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path / name, data, tokenizer)
    assert str(tmp_path / name) in caught.value.message


def test_a_template_writes_numbers_and_takes_names_with_spaces_and_keeps_other_braces(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines({"the question": "2+2?", "a": 4, "is sure": True}))
    pair = PairSettings(
        path=str(path), question='{the question} {"as": "JSON"}', answer="{a} {is sure}"
    )
    data = read_dialogues([], tokenizer, 128, pairs=[(path, pair)])
    ids, _ = tokens_of(tokenizer, turns('2+2? {"as": "JSON"}', "4 true"))
    assert data.documents.parts[0].tolist() == ids


def test_held_out_dialogues_are_drawn_by_content_and_never_learnt(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    rows = [messages_of(turns(f"What is {n}?", f"It is {n}.")) for n in range(200)]
    data = read(tmp_path / "a.jsonl", lines(*rows), tokenizer, held_out_share=0.1)
    assert data.held_out is not None
    assert data.dialogues + data.held_out.dialogues == 200
    assert 5 <= data.held_out.dialogues <= 40
    reordered = read(tmp_path / "b.jsonl", lines(*rows[::-1]), tokenizer, held_out_share=0.1)
    assert reordered.held_out is not None

    def texts(data: DialogueData, held_out: bool) -> set[tuple[int, ...]]:
        encoded = data.held_out if held_out else data.training
        assert encoded is not None
        ids = encoded.documents.parts[0]
        places = zip(encoded.documents.starts, encoded.documents.tokens, strict=True)
        return {tuple(ids[start : start + tokens].tolist()) for start, tokens in places}

    assert texts(data, True) == texts(reordered, True)
    assert texts(data, True).isdisjoint(texts(data, False))
    everything = [
        tokens_of(tokenizer, turns(f"What is {n}?", f"It is {n}."))[0] for n in range(200)
    ]
    assert texts(data, True) | texts(data, False) == set(map(tuple, everything))
    bytes_held_out = data.held_out.answer_bytes + data.training.answer_bytes
    assert bytes_held_out == sum(len(f"It is {n}.") for n in range(200))
    held_out = data.held_out.validation_set(512, 10_000)
    ratio = data.held_out.answer_tokens / data.held_out.answer_bytes
    assert held_out.bits_per_byte_of_a_nat == pytest.approx(ratio / math.log(2))


@pytest.mark.parametrize("rows", [MESSAGES, MESSAGES[:1] * 300], ids=["few", "all equal"])
def test_nothing_is_held_out_of_what_cannot_spare_it(
    rows: list[Any], tmp_path: Path, tokenizer: Tokenizer
) -> None:
    data = read(tmp_path / "a.jsonl", lines(*rows), tokenizer, held_out_share=0.02)
    assert (data.held_out, data.dialogues) == (None, len(rows))


@pytest.mark.parametrize("key", ["epochs", "held_out_share", "maximum_bad_rows"])
def test_an_impossible_setting_is_refused(key: str) -> None:
    with pytest.raises(RecipeError, match=f"{key} is -1"):
        TuneSettings(max_tokens=100_000, **{key: -1})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (lines({"prompt": "hi", "chosen": "yo", "rejected": "no"}), "line 1: a preference pair"),
        (lines(*({"title": "x"} for _ in range(30))), "line 1: no known layout"),
        (b"\n", "is empty"),
        (None, "cannot read the dialogues"),
    ],
)
def test_the_beginning_of_a_file_is_looked_at_before_a_run(
    data: bytes | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        check_files(TuneSettings(max_tokens=100_000, dialogues=(str(path),)))
    pair = PairSettings(path=str(path), question="{q}", answer="{title}")
    with pytest.raises(InputError):
        check_files(TuneSettings(max_tokens=100_000, pairs=(pair,)))


@pytest.mark.parametrize("name", FILES)
def test_a_first_look_lets_every_file_pass_that_can_be_learnt(name: str, tmp_path: Path) -> None:
    path = tmp_path / FILES[name].name
    path.write_bytes(FILES[name].data)
    check_files(TuneSettings(max_tokens=100_000, dialogues=(str(path), "{crawl}/of/a/stage.jsonl")))
