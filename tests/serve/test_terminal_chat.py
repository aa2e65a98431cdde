"""`tongwen chat`: commands, several lines, Ctrl-C, and questions from a pipe."""

import io
import json
import os
import re
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tongwen.cli.chat import command, silent_keys
from tongwen.errors import InputError, UsageError
from tongwen.serve.dialogue import Dialogue, answer_lines, texts_of
from tongwen.serve.engine import ContextLengthError
from tongwen.serve.settings import ServeSettings
from tongwen.tokenizer.prompts import JinjaTemplate

ANSWER = "第1条路很长。👩‍👩‍👧 The road"


class Screen:
    def __init__(self) -> None:
        self.answers = ""
        self.lines: list[str] = []

    def write(self, text: str) -> None:
        self.answers += text


MakeDialogue = Callable[..., tuple[Dialogue, Screen]]


@pytest.fixture
def make_dialogue(scripted_engine: Any) -> Iterator[MakeDialogue]:
    def make(context_tokens: int = 400) -> tuple[Dialogue, Screen]:
        engine, _ = scripted_engine(ANSWER, context_tokens=context_tokens)
        screen = Screen()
        settings = ServeSettings()
        return Dialogue(engine, settings, write=screen.write, say=screen.lines.append), screen

    return make


def test_answers_stream_and_join_the_dialogue_until_it_is_cleared(
    make_dialogue: MakeDialogue,
) -> None:
    dialogue, screen = make_dialogue()
    assert dialogue.handle("你好")
    assert screen.answers == ANSWER
    assert dialogue.handle("  ")
    assert dialogue.handle("And then?")
    assert [turn["role"] for turn in dialogue.messages] == ["user", "assistant"] * 2
    assert dialogue.handle("/clear")
    assert dialogue.messages == []
    assert not dialogue.handle("/bye")


def test_a_model_is_asked_in_its_own_template(scripted_engine: Any) -> None:
    engine, _ = scripted_engine(ANSWER)
    source = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}<|endoftext|>{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    template = JinjaTemplate(source, engine.tokenizer)
    prompts: list[Any] = []
    submit = engine.submit
    engine.submit = lambda request, deliver: (
        prompts.append(request.prompt_ids) or submit(request, deliver)
    )
    screen = Screen()
    dialogue = Dialogue(
        engine, ServeSettings(), write=screen.write, say=screen.lines.append, template=template
    )
    dialogue.set("system", "简短")
    dialogue.ask("Hi<|endoftext|>")
    shown = "[system]简短<|endoftext|>[user]Hi<|endoftext|><|endoftext|>[assistant]"
    assert engine.tokenizer.decode(list(prompts[0]), show_special=True) == shown
    assert prompts[0].count(2) == 2  # what was typed is text
    assert screen.answers == ANSWER


def test_settings_change_the_answer_and_impossible_ones_are_refused(
    make_dialogue: MakeDialogue,
) -> None:
    dialogue, screen = make_dialogue()
    dialogue.handle("/set max_tokens 2")
    dialogue.handle("/set system 请用中文回答。")
    dialogue.handle("/set temperature 0.7")
    dialogue.handle("问")
    assert dialogue.finish == "length"
    assert ANSWER.startswith(screen.answers)
    assert any("max_tokens" in line for line in screen.lines)
    dialogue.handle("/show")
    assert any("temperature 0.7" in line and "请用中文回答。" in line for line in screen.lines)
    for wrong in ("/set temperature hot", "/set temperature 9", "/set top_k 0", "/set colour 1"):
        with pytest.raises(UsageError) as caught:
            dialogue.handle(wrong)
        assert caught.value.hint
    with pytest.raises(UsageError, match="no command /quit"):
        dialogue.handle("/quit")


def test_a_saved_dialogue_comes_back(make_dialogue: MakeDialogue, tmp_path: Path) -> None:
    dialogue, _ = make_dialogue()
    dialogue.handle("/set system 简短")
    dialogue.handle("你好")
    dialogue.handle(f"/save {tmp_path / 'talk 一.json'}")
    other, screen = make_dialogue()
    other.handle(f"/load {tmp_path / 'talk 一.json'}")
    assert other.messages == dialogue.messages
    other.handle("/show")
    assert any("简短" in line for line in screen.lines)
    (tmp_path / "broken.json").write_text('{"system": "", "messages": [{"role": "king"}]}')
    for name in ("missing.json", "broken.json", "talk 一.json/x"):
        with pytest.raises(InputError, match=name.partition(".")[0]):
            other.handle(f"/load {tmp_path / name}")
    assert other.messages == dialogue.messages
    with pytest.raises(UsageError, match="missing"):
        other.handle("/save")


def test_the_last_question_is_answered_again_or_taken_back(make_dialogue: MakeDialogue) -> None:
    dialogue, screen = make_dialogue()
    for early in ("/regenerate", "/undo"):
        with pytest.raises(UsageError, match="no question yet"):
            dialogue.handle(early)
    dialogue.handle("one")
    dialogue.handle("two")
    before = list(dialogue.messages)
    dialogue.handle("/regenerate")
    assert dialogue.messages == before
    assert screen.answers == ANSWER * 3
    dialogue.handle("/undo")
    assert dialogue.messages == before[:2]
    assert any("two" in line for line in screen.lines)


def test_an_answer_that_is_not_given_again_stays(make_dialogue: MakeDialogue) -> None:
    dialogue, _ = make_dialogue()
    dialogue.handle("one")
    before = list(dialogue.messages)

    def failing(request: Any) -> Iterator[Any]:
        raise InputError("gone")
        yield

    dialogue._engine.stream = failing  # type: ignore[method-assign]
    with pytest.raises(InputError):
        dialogue.handle("/regenerate")
    assert dialogue.messages == before


def test_an_answer_ends_with_its_rate_in_a_terminal(scripted_engine: Any) -> None:
    engine, _ = scripted_engine(ANSWER)
    screen = Screen()
    dialogue = Dialogue(
        engine, ServeSettings(), write=screen.write, say=screen.lines.append, shows_rate=True
    )
    dialogue.handle("one")
    assert re.search(
        r"\[\d+ tokens, [\d.]+ per second; the first after [\d.]+ s\]", screen.lines[-1]
    )


def test_keys_typed_while_it_answers_are_not_shown_and_not_lost() -> None:
    pty = pytest.importorskip("pty")
    termios = pytest.importorskip("termios")
    keyboard, terminal = pty.openpty()
    with os.fdopen(terminal, "r", encoding="utf-8") as stdin, os.fdopen(keyboard, "wb", 0) as keys:
        before = termios.tcgetattr(stdin.fileno())
        with silent_keys(stdin):
            keys.write("next 问题\n".encode())
            time.sleep(0.05)
            shown, _, _ = select.select([keys], [], [], 0.1)
            assert shown == []
        assert termios.tcgetattr(stdin.fileno()) == before
        assert stdin.readline() == "next 问题\n"
    with silent_keys(io.StringIO("no terminal")):
        pass


def test_a_question_beyond_the_window_is_refused_and_the_dialogue_stays(
    make_dialogue: MakeDialogue,
) -> None:
    dialogue, _ = make_dialogue(context_tokens=60)
    with pytest.raises(ContextLengthError, match="60"):
        dialogue.handle("龘" * 60)
    assert dialogue.messages == []


def test_ctrl_c_stops_the_answer_and_keeps_what_was_written(make_dialogue: MakeDialogue) -> None:
    dialogue, screen = make_dialogue()
    original = dialogue._engine.stream

    def interrupted(request: Any) -> Iterator[Any]:
        for number, delta in enumerate(original(request)):
            if number == 3:
                raise KeyboardInterrupt
            yield delta

    dialogue._engine.stream = interrupted  # type: ignore[method-assign]
    dialogue.handle("你好")
    assert screen.answers
    assert ANSWER.startswith(screen.answers)
    assert screen.answers != ANSWER
    assert dialogue.messages[-1]["content"] == screen.answers
    assert any("stopped" in line for line in screen.lines)


@pytest.mark.parametrize(
    ("typed", "texts"),
    [
        ("one\ntwo\n", ["one", "two"]),
        ('"""first\nsecond 二\n"""\nthird\n', ["first\nsecond 二", "third"]),
        ('"""\na\n\nb"""\n', ["a\n\nb"]),
        ('"""all in one line"""\n', ["all in one line"]),
        ('"""never closed\nx', ["never closed\nx"]),
        ("", []),
    ],
)
def test_three_quotes_hold_several_lines_together(typed: str, texts: list[str]) -> None:
    assert list(texts_of(iter(typed.splitlines(keepends=True)))) == texts


def test_piped_questions_are_answered_one_by_one_and_errors_do_not_stop_the_rest(
    make_dialogue: MakeDialogue,
) -> None:
    dialogue, _ = make_dialogue(context_tokens=120)
    lines = ["你好\n", "\n", "龘" * 120 + "\n", "/nonsense\n", "again\n", "/bye\n", "never\n"]
    rows: list[str] = []
    errors = list(answer_lines(dialogue, iter(lines), as_json=True, write=rows.append))
    assert [type(error) for error in errors] == [ContextLengthError, UsageError]
    assert [json.loads(row) for row in rows] == [
        {"question": question, "answer": ANSWER, "finish_reason": "stop"}
        for question in ("你好", "again")
    ]


def test_the_command_answers_a_pipe_with_a_real_model(small_model_folder: Path) -> None:
    def run(text: str, *options: str) -> Any:
        return CliRunner().invoke(command, [str(small_model_folder), *options], input=text)

    result = run("/set max_tokens 5\n路\nThe road\n", "--json")
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["question"] for row in rows] == ["路", "The road"]
    plain = run("/set max_tokens 5\n路\n")
    assert plain.stdout == rows[0]["answer"] + "\n"
    short = run("路\n", "--json", "--max-tokens", "2", "--temperature", "0.5", "--system", "短")
    assert json.loads(short.stdout)["finish_reason"] == "length"
    wrong = run("路\n", "--top-p", "7")
    assert isinstance(wrong.exception, UsageError)
    failed = run("路" * 300)
    assert failed.exit_code == 1
    assert "context window of this model has 128" in failed.stderr
