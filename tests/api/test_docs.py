"""The pages about Python and your own code: their examples run and are those of the files."""

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^```(python|toml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [found[2] for found in _BLOCK.finditer(text)]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_examples_of_the_python_page_run(
    language: str, small_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my-model").symlink_to(small_model_folder)
    rows = [f'{{"question": "{n} + 1 =", "answer": "{n + 1}"}}\n' for n in range(3)]
    Path("sums.jsonl").write_text("".join(rows), encoding="utf-8")
    Path("sums.toml").write_text(
        'description = "Sums"\nlanguage = "en"\nkind = "generate"\nmetric = "exact_match"\n'
        'prompt = "{question}"\naccepted = ["answer"]\nmax_new_tokens = 4\n'
        '[data]\nformat = "jsonl"\n',
        encoding="utf-8",
    )
    page = f"{language}/python.md"
    test = doctest.DocTestParser().get_doctest("\n".join(blocks(page)), {}, page, page, 0)
    assert len(test.examples) > 20
    said: list[str] = []
    doctest.DocTestRunner().run(test, out=said.append)
    assert not said, "".join(said)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_about_your_own_code_shows_the_example_files(language: str) -> None:
    files = [
        path.read_text(encoding="utf-8")
        for path in sorted((ROOT / "examples" / "own_code").rglob("*.*"))
        if path.suffix in (".py", ".toml")
    ]
    shown = blocks(f"{language}/extend-with-your-code.md")
    assert len(shown) == 11
    for block in shown:
        assert any(block in file for file in files), block


def test_both_languages_show_the_same_code() -> None:
    english, chinese = (blocks(f"{language}/extend-with-your-code.md") for language in ("en", "zh"))
    assert english == chinese
