"""Documents attached by the page, what the model says of itself, and the progress of reading."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tongwen.serve.attachments import AttachmentError, read_attachment
from tongwen.serve.facts import model_facts


def attach(url: str, name: str, data: bytes) -> httpx.Response:
    content = base64.b64encode(data).decode()
    return httpx.post(f"{url}/attachments", json={"name": name, "content": content}, timeout=120)


def test_a_document_comes_back_as_text_with_its_tokens(scripted_engine: Any, serve: Any) -> None:
    engine, _ = scripted_engine("ok")
    with serve(engine) as url:
        read = attach(url, "../书/第一章.md", "# 第一章\n\n路很长。\r\n".encode("gb18030"))
        assert read.status_code == 200, read.text
        body = read.json()
        assert body["text"].replace("\r", "") == "# 第一章\n\n路很长。"
        assert body["tokens"] == len(engine.tokenizer.encode(body["text"]))
        locked = attach(url, "a.pdf", b"%PDF-1.4 broken")
        assert (locked.status_code, locked.json()["error"]["code"]) == (400, "attachment_malformed")
        for name, data, code in (
            ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(64), "attachment_unknown_format"),
            ("empty.txt", b"", "attachment_unknown_format"),
            ("a\x00.txt", b"x", "attachment_name"),
        ):
            assert attach(url, name, data).json()["error"]["code"] == code
        half = json.dumps({"name": "\ud800.txt", "content": "YQ=="})
        refused = httpx.post(f"{url}/attachments", content=half)
        assert refused.json()["error"]["code"] == "attachment_name"
        wrong = httpx.post(f"{url}/attachments", json={"name": "a.txt", "content": "*"})
        assert wrong.json()["error"]["code"] == "attachment_content"


def test_word_and_pdf_files_are_read(tmp_path: Path) -> None:
    docx = pytest.importorskip("docx")
    document = docx.Document()
    document.add_heading("渡口", 1)
    document.add_paragraph("The ferryman asked for two coins.")
    document.save(str(tmp_path / "a.docx"))
    assert read_attachment(tmp_path / "a.docx").text.split("\n\n") == [
        "# 渡口",
        "The ferryman asked for two coins.",
    ]
    (tmp_path / "rows.csv").write_text("name,age\n林,3\n", encoding="utf-8")
    assert read_attachment(tmp_path / "rows.csv").text == "name,age\n林,3"
    (tmp_path / "a.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    with pytest.raises(AttachmentError) as caught:
        read_attachment(tmp_path / "a.zip")
    assert caught.value.problem == "unknown_format"


def test_a_model_is_described_by_its_shape_and_its_card(
    scripted_engine: Any, tmp_path: Path, serve: Any
) -> None:
    engine, model = scripted_engine("ok")
    (tmp_path / "README.md").write_text(
        '---\nlanguage:\n- en\n- zh\nlicense: "apache-2.0"\ntags:\n- x\n---\n\n# Small\n\n路',
        "utf-8",
    )
    facts = model_facts(model.config, tmp_path, has_chat=True)
    assert facts["languages"] == ["en", "zh"]
    assert facts["license"] == "apache-2.0"
    assert facts["card"] == "# Small\n\n路"
    with serve(engine) as url:
        body = httpx.get(f"{url}/model-facts").json()
    assert body["id"] == "small"
    assert body["parameters"] == model.config.parameters
    assert body["card"] is None


def test_a_stream_tells_how_much_of_the_prompt_was_read(scripted_engine: Any, serve: Any) -> None:
    engine, _ = scripted_engine("ok", context_tokens=8_192)
    question = {"role": "user", "content": "路很长。The road. " * 400}
    body = {"model": "small", "messages": [question], "stream": True}
    with serve(engine) as url:
        told = httpx.post(
            f"{url}/v1/chat/completions", json=body | {"return_progress": True}, timeout=60
        )
        plain = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60)
    assert "prompt_progress" not in plain.text
    events = [json.loads(line[6:]) for line in told.text.splitlines() if line.startswith("data: {")]
    progress = [event["prompt_progress"] for event in events if "prompt_progress" in event]
    read = [each["processed"] for each in progress]
    assert read[:2] == [0, 1024]
    assert read[-1] == progress[0]["total"]
    assert read == sorted(read)
    texts = [e["choices"][0]["delta"].get("content", "") for e in events if e["choices"]]
    assert "".join(texts) == "ok"
