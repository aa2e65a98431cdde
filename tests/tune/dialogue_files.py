"""Files of dialogues as people have them, each with the turns it must become.

A turn is (role, content, whether it is learnt).
"""

import csv
import gzip
import io
import json
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

Turn = tuple[str, str, bool]


@dataclass(frozen=True)
class DialogueFile:
    """A file, and what its dialogues are."""

    name: str
    data: bytes
    dialogues: tuple[tuple[Turn, ...], ...]
    layout: str


def turns(*contents: str) -> tuple[Turn, ...]:
    """Question, answer, question, answer."""
    roles = ("user", "assistant")
    return tuple((roles[n % 2], text, n % 2 == 1) for n, text in enumerate(contents))


ENGLISH = turns("How long is road 1?", "Very long, “indeed” \U0001f6b6")
CHINESE = turns("第一条路有多长？", "很长，\n真的很长。")
BOTH = (ENGLISH, CHINESE)


def messages_of(dialogue: tuple[Turn, ...]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content, _ in dialogue]


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def table(delimiter: str, *rows: list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows(rows)
    return text.getvalue()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


MESSAGES = [{"messages": messages_of(dialogue)} for dialogue in BOTH]
PAIRS = [[dialogue[0][1], dialogue[1][1]] for dialogue in BOTH]
PLAIN_PAIRS = [["How long is road 1?", "Very long."], ["第一条路有多长？", "很长，\n真的很长。"]]
PLAIN = tuple(turns(*pair) for pair in PLAIN_PAIRS)
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "开封"}}\n</tool_call>'
RESULT = "<tool_response>\n晴\n</tool_response>"
TOOLS = (
    ("system", "Be brief.", False),
    ("user", "天气？", False),
    ("assistant", CALL, True),
    ("user", RESULT, False),
    ("assistant", "晴。", True),
)
DEFINITION = {"name": "weather", "parameters": {"type": "object"}}
DEFINED = (
    "You may call functions. Their definitions, one JSON object a line:\n<tools>\n"
    '{"type": "function", "function": {"name": "weather", "description": "", "parameters": '
    '{"type": "object"}}}\n</tools>\nTo call one, answer with its name and arguments as JSON:\n'
    '<tool_call>\n{"name": "NAME", "arguments": {}}\n</tool_call>'
)
TWO_CALLS = (
    ("system", DEFINED, False),
    ("user", "天气？", False),
    ("assistant", f"{CALL}\n{CALL.replace('开封', '洛阳')}", True),
    ("user", RESULT, False),
    ("user", RESULT.replace("晴", "雨"), False),
    ("assistant", "开封晴，洛阳雨。", True),
)
FUNCTION = {"name": "weather", "arguments": '{"city": "开封"}'}


def _as(name: str, data: bytes, dialogues: Any, layout: str) -> DialogueFile:
    return DialogueFile(name, data, tuple(dialogues), layout)


def _sharegpt(dialogue: tuple[Turn, ...]) -> list[dict[str, str]]:
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    return [{"from": names[role], "value": content} for role, content, _ in dialogue]


def _openai_files() -> dict[str, DialogueFile]:
    parts = [
        {"role": "user", "content": [{"type": "text", "text": "How long "},
                                     {"type": "text", "text": "is it?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Long."}]},
    ]  # fmt: skip
    tools = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "天气？"},
        {"role": "assistant", "content": None,
         "tool_calls": [{"id": "1", "type": "function", "function": FUNCTION}]},
        {"role": "tool", "tool_call_id": "1", "content": "晴"},
        {"role": "assistant", "content": "晴。"},
    ]  # fmt: skip
    old_tools = [
        *tools[:2],
        {"role": "assistant", "content": None, "function_call": FUNCTION},
        {"role": "function", "name": "weather", "content": "晴"},
        tools[-1],
    ]
    other = {**FUNCTION, "arguments": '{"city": "洛阳"}'}
    parallel = [
        {"role": "user", "content": "天气？"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "1", "type": "function", "function": FUNCTION},
            {"id": "2", "type": "function", "function": other}]},
        {"role": "tool", "tool_call_id": "2", "content": "雨"},
        {"role": "tool", "tool_call_id": "1", "content": "晴"},
        {"role": "assistant", "content": "开封晴，洛阳雨。"},
    ]  # fmt: skip
    defined = [{"type": "function", "function": DEFINITION}]
    weights = [
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": "3", "weight": 0},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "2", "weight": 1, "reasoning_content": "1 and 1"},
    ]
    weighed = (*turns("1+1?")[:1], ("assistant", "3", False), *turns("Sure?", "2"))
    return {
        "messages": _as("a.jsonl", lines(*MESSAGES), BOTH, "messages"),
        "text parts": _as(
            "a.jsonl", lines({"messages": parts}), [turns("How long is it?", "Long.")], "messages"
        ),
        "tools": _as("a.jsonl", lines({"messages": tools}), [TOOLS], "messages"),
        "functions": _as("a.jsonl", lines({"messages": old_tools}), [TOOLS], "messages"),
        "tools that are defined, results in another order": _as(
            "a.jsonl", lines({"tools": defined, "messages": parallel}), [TWO_CALLS], "messages"
        ),
        "definitions as JSON": _as(
            "a.jsonl",
            lines({"tools": json.dumps([DEFINITION]), "messages": parallel}),
            [TWO_CALLS],
            "messages",
        ),
        "questions with their answers": _as(
            "a.jsonl",
            lines(
                {
                    "conversation": [
                        {"system": "S", "input": "a", "output": "b"},
                        {"input": "c", "output": "d"},
                    ]
                },
                {"conversation": [{"human": "e", "assistant": "f"}]},
            ),
            [(("system", "S", False), *turns("a", "b", "c", "d")), turns("e", "f")],
            "messages",
        ),
        "weight, reasoning": _as("a.jsonl", lines({"messages": weights}), [weighed], "messages"),
        "row is a list": _as("a.jsonl", lines(*map(messages_of, BOTH)), BOTH, "messages"),
        "messages in CSV": _as(
            "a.csv",
            table(",", ["messages"], *[[json.dumps(messages_of(d))] for d in BOTH]).encode(),
            BOTH,
            "messages",
        ),
        "UltraChat": _as("a.jsonl", lines(*({"data": pair} for pair in PAIRS)), BOTH, "messages"),
    }


def _sharegpt_files() -> dict[str, DialogueFile]:
    tools = [
        {"from": "human", "value": "天气？"},
        {"from": "function_call", "value": json.dumps(FUNCTION)},
        {"from": "observation", "value": "晴"},
        {"from": "gpt", "value": "晴。"},
    ]
    rows = [{"conversations": _sharegpt(dialogue)} for dialogue in BOTH]
    return {
        "ShareGPT": _as("a.jsonl", lines(*rows), BOTH, "ShareGPT"),
        "ShareGPT, array": _as("a.json", json.dumps(rows, indent=2).encode(), BOTH, "ShareGPT"),
        "ShareGPT, tools": _as(
            "a.json",
            json.dumps([{"system": "Be brief.", "conversations": tools}]).encode(),
            [TOOLS],
            "ShareGPT",
        ),
    }


def _pair_files() -> dict[str, DialogueFile]:
    alpaca = [
        {"instruction": "翻译", "input": "Hello", "output": "你好"},
        {"instruction": "Say hi", "input": "", "output": "hi", "system": "Be brief.",
         "history": [["Who?", "Me."]]},
    ]  # fmt: skip
    alpaca_turns = [
        turns("翻译\nHello", "你好"),
        (("system", "Be brief.", False), *turns("Who?", "Me.", "Say hi", "hi")),
    ]
    prompts = [{"prompt": asked, "completion": answered} for asked, answered in PAIRS]
    lists = {
        "prompt": messages_of(turns("1+1?", "3", "Sure?")),
        "completion": [{"role": "assistant", "content": "2"}],
    }
    list_turns = (*turns("1+1?")[:1], ("assistant", "3", False), *turns("Sure?", "2"))
    found = {
        "Alpaca": _as("a.json", json.dumps(alpaca).encode(), alpaca_turns, "Alpaca"),
        "prompt/completion": _as("a.jsonl", lines(*prompts), BOTH, "prompt/completion"),
        "prompt/completion, lists": _as(
            "a.jsonl", lines(lists), [list_turns], "prompt/completion"
        ),
        "an answer that is a number": _as(
            "a.jsonl", lines({"q": "2+2?", "a": 4}), [turns("2+2?", "4")], "question/answer"
        ),
    }  # fmt: skip
    found["query/response with history"] = _as(
        "a.jsonl",
        lines({"query": "c", "response": "d", "history": [["a", "b"]], "system": "S"}),
        [(("system", "S", False), *turns("a", "b", "c", "d"))],
        "question/answer",
    )
    for names in ("query/response", "question/answer", "q/a", "问题/回答", "input/output"):
        columns = names.split("/")
        rows = [dict(zip(columns, pair, strict=True)) for pair in PAIRS]
        found[names] = _as("a.jsonl", lines(*rows), BOTH, "question/answer")
    return found


def _carried_files() -> dict[str, DialogueFile]:
    """The same dialogues in other kinds of file and encodings."""
    text = lines(*MESSAGES).decode()
    header, tabs = ["question", "answer"], ["问题", "回答"]
    plain = lines(*({"messages": messages_of(dialogue)} for dialogue in PLAIN)).decode()
    pretty = json.dumps({"messages": messages_of(ENGLISH)}, indent=1).encode()
    nested = json.dumps({"version": 1, "data": MESSAGES}).encode()
    zstd = zstandard.compress(text.encode())
    return {
        "array": _as("a.json", json.dumps(MESSAGES).encode(), BOTH, "messages"),
        "array named .jsonl": _as("a.jsonl", json.dumps(MESSAGES).encode(), BOTH, "messages"),
        "array in an object": _as("a.json", nested, BOTH, "messages"),
        "one object": _as("a.json", pretty, [ENGLISH], "messages"),
        "JSON Lines named .json": _as("a.json", text.encode(), BOTH, "messages"),
        "gzip": _as("a.jsonl.gz", gzip.compress(text.encode()), BOTH, "messages"),
        "gzip of an array": _as(
            "a.json.gz", gzip.compress(json.dumps(MESSAGES).encode()), BOTH, "messages"
        ),
        "zstd": _as("a.jsonl.zst", zstd, BOTH, "messages"),
        "Parquet": _as("a.parquet", parquet(MESSAGES), BOTH, "messages"),
        "Parquet pairs": _as(
            "a.parquet",
            parquet([{"prompt": a, "response": b} for a, b in PAIRS]),
            BOTH,
            "prompt/completion",
        ),
        "Parquet with bytes": _as(
            "a.parquet",
            parquet([{"prompt": a.encode(), "response": b.encode()} for a, b in PAIRS]),
            BOTH,
            "prompt/completion",
        ),
        "CSV that names its delimiter": _as(
            "a.csv", b"\xef\xbb\xbfsep=;\r\n" + table(";", header, *PAIRS).encode(), BOTH,
            "question/answer",
        ),
        "BOM": _as("a.jsonl", b"\xef\xbb\xbf" + text.encode(), BOTH, "messages"),
        "UTF-16": _as("a.jsonl", ("\ufeff" + text).encode("utf-16-le"), BOTH, "messages"),
        "UTF-16, big end first": _as("a.jsonl", ("\ufeff" + text).encode("utf-16-be"), BOTH,
                                     "messages"),
        "UTF-16 with a separator of lines in a text": _as(
            "a.jsonl",
            lines({"q": "一\u2028二", "a": "三\x85"}).decode().encode("utf-16"),
            [turns("一\u2028二", "三\x85")],
            "question/answer",
        ),
        "Windows line ends": _as("a.jsonl", text.replace("\n", "\r\n").encode(), BOTH, "messages"),
        "GB18030": _as("a.jsonl", plain.encode("gb18030"), PLAIN, "messages"),
        "CSV": _as("a.csv", table(",", header, *PAIRS).encode(), BOTH, "question/answer"),
        "CSV with semicolons": _as("a.csv", table(";", header, *PAIRS).encode(), BOTH,
                                   "question/answer"),
        "CSV named .txt": _as("a.txt", table(",", header, *PAIRS).encode(), BOTH,
                              "question/answer"),
        "CSV in GB18030": _as("a.csv", table(",", tabs, *PLAIN_PAIRS).encode("gb18030"), PLAIN,
                              "question/answer"),
        "TSV in UTF-16": _as("a.tsv", ("\ufeff" + table("\t", tabs, *PAIRS)).encode("utf-16-le"),
                             BOTH, "question/answer"),
    }  # fmt: skip


FILES = {**_openai_files(), **_sharegpt_files(), **_pair_files(), **_carried_files()}
