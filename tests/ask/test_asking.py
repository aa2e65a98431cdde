"""Questions to a server: patience, secrets, the journal, the cost."""

import json
from pathlib import Path

import pytest
from fake_server import FakeServer

from tongwen.ask.cost import Prices, estimate, prompt_tokens
from tongwen.ask.journal import open_journal
from tongwen.ask.questions import Question, ask_all
from tongwen.ask.server import Server
from tongwen.errors import InputError, UsageError

KEY = "sk-secret-0123456789"


def question(text: str, **fields: object) -> Question:
    message = {"role": "user", "content": text}
    return Question(about=text, model="tiny", messages=(message,), max_tokens=20, **fields)  # type: ignore[arg-type]


def server(fake: FakeServer, **options: object) -> Server:
    return Server(fake.url, wait_seconds=0.01, **options)  # type: ignore[arg-type]


def test_a_busy_server_and_garbage_are_asked_again(fake: FakeServer, tmp_path: Path) -> None:
    fake.troubles = [
        (429, b'{"error": {"message": "slow down"}}', {"Retry-After": "0"}),
        (500, b"oops", {}),
        (200, b"<html>not json</html>", {}),
        (200, b'{"choices": []}', {}),
        (200, b'{"choices": [{"message": {"content": 7}}]}', {}),
        (503, b"", {"Retry-After": "soon"}),
    ]
    with open_journal(tmp_path / "journal") as journal:
        ask_all(server(fake), [question("你好")], journal, parallel=1)
    assert [answer.text for answer in journal.answers.values()] == ["Fine.\nGrade: 3"]
    assert len(fake.headers) == 7


def test_a_server_that_stays_busy_ends_the_work_and_what_is_answered_stays(
    fake: FakeServer, tmp_path: Path
) -> None:
    questions = [question(f"question {n}") for n in range(3)]
    path = tmp_path / "journal"
    with open_journal(path) as journal:
        ask_all(server(fake), questions[:1], journal, parallel=1)
    fake.troubles = [(502, b"down", {})] * 3
    with open_journal(path) as journal:
        with pytest.raises(InputError, match=r"no answer in 3 attempts; the last: 502 .*down"):
            ask_all(server(fake, attempts=3), questions, journal, parallel=1)
        ask_all(server(fake), questions, journal, parallel=1)
    assert fake.questions == [f"question {n}" for n in range(3)]


def test_the_key_is_sent_and_appears_nowhere(
    fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    path = tmp_path / "journal"
    said = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}}).encode()
    with open_journal(path) as journal:
        ask_all(server(fake, key_variable="MY_KEY"), [question("a")], journal, parallel=1)
        fake.troubles = [(401, said, {})]
        with pytest.raises(InputError) as raised:
            ask_all(server(fake, key_variable="MY_KEY"), [question("b")], journal, parallel=1)
    assert {headers["Authorization"] for headers in fake.headers} == {f"Bearer {KEY}"}
    assert "401" in raised.value.message
    assert KEY not in f"{raised.value.message}{raised.value.hint}{path.read_text()}"
    with open_journal(path) as journal:
        ask_all(server(fake), [question("c")], journal, parallel=1)
    assert "Authorization" not in fake.headers[-1]


def test_addresses_with_keys_and_missing_variables_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(UsageError, match="NO_SUCH_KEY is not set"):
        Server("http://127.0.0.1:1", key_variable="NO_SUCH_KEY")
    for key in (f"{KEY}\nX", f"{KEY}…"):
        monkeypatch.setenv("ODD_KEY", key)
        with pytest.raises(UsageError, match="ODD_KEY holds characters") as odd:
            Server("http://127.0.0.1:1", key_variable="ODD_KEY")
        assert KEY not in str(odd.value)
    for url in ("127.0.0.1:8000", "ftp://host/v1", ""):
        with pytest.raises(UsageError, match="not the address of a server"):
            Server(url)
    for url in (f"http://me:{KEY}@host/v1", f"http://host/v1?key={KEY}"):
        with pytest.raises(UsageError) as raised:
            Server(url)
        assert KEY not in f"{raised.value}{raised.value.hint}"
    assert Server("http://host:8000/").url == "http://host:8000/v1"
    assert Server("http://host/api/v1/chat/completions").url == "http://host/api/v1"


def test_a_redirect_is_not_followed(fake: FakeServer, tmp_path: Path) -> None:
    fake.troubles = [(307, b"", {"Location": "http://127.0.0.1:1/v1"})]
    with (
        open_journal(tmp_path / "journal") as journal,
        pytest.raises(InputError, match="answers 307"),
    ):
        ask_all(server(fake), [question("a")], journal, parallel=1)


def test_no_more_questions_are_under_way_than_asked_for(fake: FakeServer, tmp_path: Path) -> None:
    questions = [question(f"{n}") for n in range(40)] * 2
    with open_journal(tmp_path / "journal") as journal:
        ask_all(server(fake), questions, journal, parallel=3)
    assert len(fake.bodies) == 40  # equal questions once
    assert 1 <= fake.most_at_once <= 3


def test_a_refused_question_is_kept_and_ten_are_the_end(fake: FakeServer, tmp_path: Path) -> None:
    fake.refuse = lambda body: "too long" if "long" in body["messages"][-1]["content"] else None
    path = tmp_path / "journal"
    questions = [question("short"), question("long")]
    with open_journal(path) as journal:
        ask_all(server(fake), questions, journal, parallel=2)
        assert journal.answers[questions[1].name].refused == "400 Bad Request: too long"
    with open_journal(path) as journal:
        before = len(fake.headers)
        ask_all(server(fake), questions, journal, parallel=2)
        assert len(fake.headers) == before
        with pytest.raises(InputError, match="refused the first 10 questions"):
            ask_all(server(fake), [question(f"long {n}") for n in range(12)], journal, parallel=1)


def test_fields_that_a_server_calls_otherwise_are_said_its_way(
    fake: FakeServer, tmp_path: Path
) -> None:
    def refuse(body: dict[str, object]) -> str | None:
        for name in ("max_tokens", "temperature"):
            if name in body:
                return f"Unsupported parameter: '{name}'"
        return None

    fake.refuse = refuse
    with open_journal(tmp_path / "journal") as journal:
        ask_all(server(fake), [question("a"), question("b")], journal, parallel=1)
    assert [body["max_completion_tokens"] for body in fake.bodies] == [20, 20]
    assert len(fake.headers) == 4  # two refusals are learnt from once


def test_a_torn_last_line_is_asked_again_and_a_strange_file_is_refused(
    fake: FakeServer, tmp_path: Path
) -> None:
    path = tmp_path / "journal"
    questions = [question("a"), question("b")]
    with open_journal(path) as journal:
        ask_all(server(fake), questions, journal, parallel=1)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    with open_journal(path) as journal:
        assert list(journal.answers) == [questions[0].name]
        ask_all(server(fake), questions, journal, parallel=1)
    assert path.read_bytes() == whole
    with open_journal(path), pytest.raises(UsageError, match="another command writes"):  # noqa: SIM117
        with open_journal(path):
            pass
    path.write_text("not a journal\n")
    with pytest.raises(InputError, match=r"line 1 of .* is not an answer"), open_journal(path):
        pass


def test_the_cost_is_at_most_that_before_and_measured_after_the_first_answers(
    fake: FakeServer, tmp_path: Path
) -> None:
    questions = [question("word " * 80), question("word " * 79), question("字" * 100)]
    assert prompt_tokens(questions[0]) == 108
    assert prompt_tokens(questions[2]) == 78
    before = estimate(questions, {})
    assert (before.questions, before.answer_tokens, before.is_measured) == (3, 60, False)
    assert before.cost(Prices(10.0, 100.0)) == pytest.approx(
        (before.prompt_tokens * 10 + 60 * 100) / 1e6
    )
    assert "at most 60 out; --price-in" in before.text(Prices())
    with open_journal(tmp_path / "journal") as journal:
        ask_all(server(fake), questions[:1], journal, parallel=1)
    after = estimate(questions, journal.answers)
    assert (after.questions, after.known, after.answer_tokens) == (2, 1, 20)
    assert after.prompt_tokens == round((prompt_tokens(questions[1]) + 78) * 100 / 108)
    assert "2 questions (1 more are answered already)" in after.text(Prices(1, 1))


def test_the_only_model_needs_no_name_and_of_several_one_must_be_chosen(fake: FakeServer) -> None:
    assert server(fake).only_model() == "tiny"
    fake.models = ["one", "two"]
    with pytest.raises(UsageError, match="several models: one, two"):
        server(fake).only_model()
    fake.models = []
    with pytest.raises(InputError, match="names no model"):
        server(fake).only_model()
