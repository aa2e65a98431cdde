import bz2
import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tongwen.errors import InputError
from tongwen.evaluate.readers import data_files, read_rows, value_of
from tongwen.evaluate.spec import DataSpec, ShotsSpec, TaskSpec

ROWS = [
    {"question": "Wer? 谁？", "answer": "Halden\u2028镇"},
    {"question": "“引号”，全角；", "answer": "🍎"},
]


def spec_of(data: DataSpec, **changes: Any) -> TaskSpec:
    return TaskSpec(
        description="test", kind="generate", metric="exact_match", language="en",
        prompt="{question}", accepted=("answer",), data=data, **changes,
    )  # fmt: skip


def jsonl(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def tar_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def values(spec: TaskSpec, path: Path) -> list[dict[str, Any]]:
    return [row.values for row in read_rows(spec, path).rows]


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.jsonl", lambda data: data),
        ("a.jsonl.gz", gzip.compress),
        ("a.jsonl.bz2", bz2.compress),
        ("a.tar.gz", lambda data: tar_of({"v1/a.jsonl": data})),
        ("a.zip", lambda data: zip_of({"v1/": b"", "v1/a.jsonl": data})),
    ],
)
def test_the_same_rows_come_out_of_every_packing(tmp_path: Path, name: str, pack: Any) -> None:
    path = tmp_path / name
    path.write_bytes(pack(b"\xef\xbb\xbf" + jsonl(ROWS)))
    found = values(spec_of(DataSpec(format="jsonl")), path)
    assert [{key: row[key] for key in ROWS[0]} for row in found] == ROWS


def test_members_are_chosen_by_pattern_and_read_in_order_of_name(tmp_path: Path) -> None:
    header = "id,question,A,answer\n"
    path = tmp_path / "exam.zip"
    path.write_bytes(
        zip_of(
            {
                "val/physics_val.csv": (header + '0,"力，""N""\n是什么",a,B\n').encode(),
                "val/law_val.csv": ("\ufeff" + header + "0,法,a,A\n").encode(),
                "dev/law_dev.csv": (header + "0,例,a,A\n").encode(),
            }
        )
    )
    data = DataSpec(
        format="csv", members=("val/*.csv",), member_pattern=r"([^/]+)_(?:dev|val)\.csv"
    )
    rows = read_rows(spec_of(data, shots=ShotsSpec(members=("dev/*.csv",))), path)
    assert [row.values["member"] for row in rows.rows] == ["law", "physics"]
    assert rows.rows[1].values["question"] == '力，"N"\n是什么'
    assert rows.rows[0].place == "exam.zip:val/law_val.csv:1"
    assert [row.values["question"] for row in rows.shots] == ["例"]


def test_tables_without_a_header_take_their_columns_from_the_task(tmp_path: Path) -> None:
    path = tmp_path / "mgsm.tsv"
    path.write_text('他说 "3" 个，多少？\t18\nHow many?\t3\n', encoding="utf-8")
    data = DataSpec(format="tsv", columns=("question", "answer"))
    assert [row["answer"] for row in values(spec_of(data), path)] == ["18", "3"]
    assert values(spec_of(data), path)[0]["question"] == '他说 "3" 个，多少？'


def test_squad_gives_a_row_for_each_question(tmp_path: Path) -> None:
    document = {
        "data": [{"paragraphs": [{"context": "同文馆在北京。", "qas": [
            {"id": "1", "question": "在哪？", "answers": [{"text": "北京"}, {"text": "在北京"}]},
            {"id": "2", "question": "什么？", "answers": [{"text": "同文馆"}]},
        ]}]}]
    }  # fmt: skip
    path = tmp_path / "squad.json.gz"
    path.write_bytes(gzip.compress(json.dumps(document).encode()))
    rows = values(spec_of(DataSpec(format="squad")), path)
    assert [row["answers"] for row in rows] == [["北京", "在北京"], ["同文馆"]]
    assert {row["context"] for row in rows} == {"同文馆在北京。"}


def test_hellaswag_has_six_lines_an_item_and_asks_as_its_authors_do(tmp_path: Path) -> None:
    path = tmp_path / "hellaswag.txt"
    path.write_text(
        "Roof work: A man sits. he\n3\na\nb\nc\nd\nHow to bake. Mix it well.\n0\ne\nf\ng\nh\n",
        encoding="utf-8",
    )
    rows = values(spec_of(DataSpec(format="hellaswag6")), path)
    assert [row["query"] for row in rows] == [
        "Roof work: A man sits. He",
        "How to bake. Mix it well.",
    ]
    assert rows[0]["endings"] == ["a", "b", "c", "d"]
    path.write_text("context\n1\na\nb\n", encoding="utf-8")
    with pytest.raises(InputError, match="not a multiple of six"):
        values(spec_of(DataSpec(format="hellaswag6")), path)


def test_dream_gives_a_row_for_each_question(tmp_path: Path) -> None:
    path = tmp_path / "dream.json"
    question = {"question": "Who?", "choice": ["a", "b"], "answer": "b"}
    path.write_text(json.dumps([[["M: Hi.", "W: Yo."], [question, question], "4-1"]]))
    rows = values(spec_of(DataSpec(format="dream")), path)
    assert len(rows) == 2
    assert rows[0]["dialogue"] == "M: Hi.\nW: Yo."


def test_labels_and_joined_fields_come_from_files_beside_the_data(tmp_path: Path) -> None:
    (tmp_path / "valid.jsonl").write_bytes(jsonl([{"id": "f1"}, {"id": "f2"}]))
    (tmp_path / "labels.lst").write_text("0\n1\n")
    (tmp_path / "facts.jsonl").write_bytes(
        jsonl([{"id": "f2", "relation": "river"}, {"id": "f1", "relation": "price"}])
    )
    data = DataSpec(
        format="jsonl", file="valid.jsonl", labels="labels.lst", join="facts.jsonl", join_on="id"
    )
    spec = spec_of(data)
    rows = values(spec, tmp_path)
    assert [(row["label"], row["relation"]) for row in rows] == [("0", "price"), ("1", "river")]
    assert [path.name for path in data_files(spec, tmp_path)] == [
        "facts.jsonl", "labels.lst", "valid.jsonl",
    ]  # fmt: skip
    (tmp_path / "labels.lst").write_text("0\n")
    with pytest.raises(InputError, match="1 labels for 2 rows"):
        read_rows(spec, tmp_path)


def test_rows_left_out_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl([{"label": "-"}, {"label": "yes"}, {"label": None}]))
    data = DataSpec(format="jsonl", skip_pattern={"label": "^-$"}, require=("label",))
    rows = read_rows(spec_of(data), path)
    assert ([row.values["label"] for row in rows.rows], rows.left_out) == (["yes"], 2)


def test_a_split_field_has_what_stands_before_and_after_the_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl([{"sentence": "张三赢了，因为_很快。"}]))
    row = read_rows(spec_of(DataSpec(format="jsonl", split={"sentence": "_"})), path).rows[0]
    assert value_of(row, "sentence.before") == "张三赢了，因为"
    assert value_of(row, "sentence.after") == "很快。"
    with pytest.raises(InputError, match="has no '#'"):
        read_rows(spec_of(DataSpec(format="jsonl", split={"sentence": "#"})), path)


@pytest.mark.parametrize(
    ("name", "data", "format"),
    [
        ("empty.jsonl", b"", "jsonl"),
        ("blank.jsonl.gz", gzip.compress(b"\n\n", mtime=0), "jsonl"),
        ("cut.jsonl.gz", gzip.compress(jsonl(ROWS) * 50)[:-20], "jsonl"),
        ("not.jsonl.gz", b"plain", "jsonl"),
        ("cut.tar.gz", tar_of({"a.jsonl": jsonl(ROWS)})[:-30], "jsonl"),
        ("not.zip", b"plain", "csv"),
        ("bad.jsonl", b'{"question": \n', "jsonl"),
        ("list.jsonl", b"[1, 2]\n", "jsonl"),
        ("latin1.jsonl", '{"question": "é"}'.encode("latin-1"), "jsonl"),
        ("gbk.csv", "question,answer\n谁,我\n".encode("gb18030"), "csv"),
        ("ragged.csv", b"question,answer\nonly one\n", "csv"),
        ("other.json", b'{"rows": []}', "squad"),
        ("dict.json", b"{}", "json"),
    ],
)
def test_damaged_or_empty_data_is_named(
    tmp_path: Path, name: str, data: bytes, format: Any
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=name):
        read_rows(spec_of(DataSpec(format=format)), path)


def test_missing_data_is_named(tmp_path: Path) -> None:
    spec = spec_of(DataSpec(format="jsonl", file="valid.jsonl"))
    with pytest.raises(InputError, match=r"nowhere\.jsonl is not there"):
        read_rows(spec, tmp_path / "nowhere.jsonl")
    with pytest.raises(InputError, match=r"without valid\.jsonl"):
        read_rows(spec, tmp_path)


def test_a_missing_field_names_the_row_and_its_fields(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl(ROWS))
    row = read_rows(spec_of(DataSpec(format="jsonl")), path).rows[1]
    with pytest.raises(InputError, match=r"a\.jsonl:2 has no field `goal`") as caught:
        value_of(row, "goal")
    assert "question, answer" in (caught.value.hint or "")
