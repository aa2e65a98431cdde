"""The chat page's files, without a browser."""

import hashlib
import re
from pathlib import Path

STATIC = Path(__file__).parents[2] / "tongwen" / "serve" / "static"
SCRIPTS = sorted(STATIC.glob("*.js"))


def dictionary(name: str) -> dict[str, str]:
    """Key -> source of the text, of one dictionary in strings.js."""
    source = (STATIC / "strings.js").read_text(encoding="utf-8")
    body = source.split(f"\nconst {name} = {{\n", 1)[1].split("\n};", 1)[0]
    return dict(re.findall(r"^  (\w+):\s+(.+?),?$(?=\n  \w+:|\Z)", body, flags=re.M | re.S))


def used_keys() -> set[str]:
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    keys = set(re.findall(r'data-(?:text|label|placeholder)="(\w+)"', page))
    for script in SCRIPTS:
        source = script.read_text(encoding="utf-8")
        keys |= set(re.findall(r'\b(?:text|showNotice|button)\("(\w+)"', source))
        keys |= set(re.findall(r'setLabel\(\w+, "(\w+)"', source))
        keys |= set(re.findall(r'\b\w+: "((?:ended|attachment)[A-Z]\w+)"', source))
        keys |= set(re.findall(r'\bact\("(\w+)"', source))
    return keys


def test_english_and_chinese_have_the_same_texts_and_placeholders() -> None:
    en, zh = dictionary("en"), dictionary("zh")
    assert len(en) > 50
    assert list(en) == list(zh)
    for key in en:
        assert sorted(re.findall(r"\{\w+\}", en[key])) == sorted(re.findall(r"\{\w+\}", zh[key])), (
            key
        )


def test_every_text_the_page_uses_is_in_the_dictionaries() -> None:
    assert used_keys() - set(dictionary("en")) == set()


def test_the_page_loads_only_its_own_files_and_has_no_inline_code() -> None:
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    for reference in re.findall(r'(?:src|href)="([^"]*)"', page):
        assert (STATIC / reference).is_file(), reference
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", page)
    for path in [*SCRIPTS, STATIC / "style.css"]:
        assert "//" not in re.sub(r"(?m)(^|\s)//.*$|/\*.*?\*/", "", path.read_text("utf-8")), path


def test_vendored_files_are_what_their_list_says_and_what_the_page_imports() -> None:
    vendor = STATIC / "vendor"
    listed = dict(
        reversed(line.split()) for line in (vendor / "SHA256SUMS").read_text("ascii").splitlines()
    )
    assert set(listed) == {p.name for p in vendor.iterdir()} - {"README.md", "SHA256SUMS"}
    for name, digest in listed.items():
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest
    sources = "".join(script.read_text("utf-8") for script in SCRIPTS)
    imported = re.findall(r'"\./vendor/([^"]+)"', sources)
    assert sorted(imported) == sorted(name for name in listed if name.endswith(".js"))
