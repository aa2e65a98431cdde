"""Write the tables of every recipe key into docs/en/recipe.md and docs/zh/recipe.md.

    python tools/recipe_reference.py            # write
    python tools/recipe_reference.py --check    # fail when a page is not current

Types, defaults and meanings come from the settings dataclasses, their Chinese from
tools/chinese.toml; what is between `<!-- keys: begin -->` and `<!-- keys: end -->` in the pages is
replaced.
"""

import argparse
import re
import sys
from pathlib import Path

import chinese

from tongwen.recipe.meanings import Key
from tongwen.road.recipe import TRAIN
from tongwen.road.reference import Section, sections

DOCS = Path(__file__).resolve().parent.parent / "docs"
HEADS = {
    "en": ("key", "type", "default", "meaning"),
    "zh": ("键", "类型", "默认值", "含义"),
}
REQUIRED = {"en": "required", "zh": "必填"}
SHARED = {
    "en": "Every key of [[train]](#train) may also be written here. Its own keys, and those with "
    "another default:",
    "zh": "[[train]](#train) 的每个键也可以写在这里。以下是本节特有的键，以及默认值不同的键：",
}
BEGIN, END = "<!-- keys: begin -->", "<!-- keys: end -->"


def page(language: str) -> Path:
    return DOCS / language / "recipe.md"


def written(language: str) -> str:
    """The page with current tables."""
    tables = "\n\n".join(section_text(section, language) for section in sections())
    text = page(language).read_text(encoding="utf-8")
    pattern = re.compile(f"{BEGIN}.*{END}", re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n{tables}\n{END}", text)


def section_text(section: Section, language: str) -> str:
    """Heading, a sentence and the table of one section."""
    lines = [f"### [{section.name}]", said_in(section.meaning, language)]
    if section.name in TRAIN.kinds:
        lines += ["", SHARED[language]]
    lines += ["", chinese.table_row(HEADS[language]), chinese.table_row(("---",) * 4, space="")]
    lines += [key_row(key, section.name, language) for key in section.own]
    return "\n".join(lines)


def key_row(key: Key, section: str, language: str) -> str:
    name = key.name.removeprefix(f"{section}.")
    default = REQUIRED[language] if key.default is None else code(key.default)
    kind = key.type
    if language == "zh":
        default, kind = chinese.default_words(default), chinese.type_words(kind)
    return chinese.table_row((f"`{name}`", kind, default, said_in(key.meaning, language)))


def said_in(text: str, language: str) -> str:
    return text if language == "en" else chinese.table("keys").get(text, text)


def texts() -> list[str]:
    """Every meaning in the pages, in order."""
    found: dict[str, None] = {}
    for section in sections():
        found |= dict.fromkeys((section.meaning, *(key.meaning for key in section.own)))
    return list(found)


def code(default: str) -> str:
    """A default as code; the remark after the first is text."""
    value, semicolon, remark = default.partition("; ")
    return f"`{value}`{semicolon}{remark}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when not current")
    arguments = parser.parse_args()
    missing = chinese.differences("keys", texts())
    print("\n".join(missing), end="\n" if missing else "", file=sys.stderr)
    stale = [name for name in HEADS if written(name) != page(name).read_text(encoding="utf-8")]
    if arguments.check:
        for name in stale:
            print(f"{page(name)} is not current: python tools/recipe_reference.py", file=sys.stderr)
        return 1 if stale or missing else 0
    for name in stale:
        page(name).write_text(written(name), encoding="utf-8")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
