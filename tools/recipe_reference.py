"""Write the tables of every recipe key into docs/en/recipe.md and docs/zh/recipe.md.

    python tools/recipe_reference.py            # write
    python tools/recipe_reference.py --check    # fail when a page is not current

Types, defaults and meanings come from the settings dataclasses; what is between
`<!-- keys: begin -->` and `<!-- keys: end -->` in the pages is replaced.
"""

import argparse
import re
import sys
from pathlib import Path

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
CHINESE = {
    "run": "运行本身：名称、随机种子，以及任务在哪里执行。",
    "crawl": "原始记录从哪里来：内置的示例网络，或您自己的文件和地址。",
    "curate": "从原始记录到干净的文档：语言、规则、去重、去污染、配比。",
    "tokenizer": "按 Yi 的规格训练 SentencePiece BPE 分词器，或沿用已有的分词器。",
    "encode": "从文档到词元分片。",
    "model": "模型的形状，键名与 Hugging Face 的 config.json 相同。",
    "plan": "机器有多少内存、每小时多少钱，以及用几步实测来估算时间。",
    "train": "预训练、扩展和微调共有的设置；每个阶段都可以为自己另写。",
    "pretrain": "在纯文本上训练。没有这一节就不预训练。",
    "extend": "在更长的序列上继续训练，让位置编码够得着更远。没有这一节就不扩展。",
    "tune": "在 ChatML 对话上做有监督微调，只计算回答的损失。没有这一节就不微调。",
    "evaluate": "用哪些任务给模型打分，以及怎样运行模型。没有这一节就不评测。",
    "quantize": "把权重量化为 int8。没有这一节就不量化。",
    "export": "导出 Hugging Face 目录和模型卡。",
    "serve": "OpenAI 兼容接口和聊天页面。",
    "report": "一页离线报告。",
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
    meaning = section.meaning if language == "en" else CHINESE[section.name]
    lines = [f"### [{section.name}]", meaning]
    if section.name in TRAIN.kinds:
        lines += ["", SHARED[language]]
    lines += ["", row(HEADS[language]), row(("---",) * 4, space="")]
    lines += [key_row(key, section.name, language) for key in section.own]
    return "\n".join(lines)


def key_row(key: Key, section: str, language: str) -> str:
    name = key.name.removeprefix(f"{section}.")
    default = REQUIRED[language] if key.default is None else code(key.default)
    return row((f"`{name}`", key.type, default, key.meaning))


def code(default: str) -> str:
    """A default as code; the remark after the first is text."""
    value, semicolon, remark = default.partition("; ")
    return f"`{value}`{semicolon}{remark}"


def row(cells: tuple[str, ...], space: str = " ") -> str:
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return "|" + "|".join(f"{space}{cell}{space}" for cell in escaped) + "|"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when not current")
    arguments = parser.parse_args()
    stale = [name for name in HEADS if written(name) != page(name).read_text(encoding="utf-8")]
    if arguments.check:
        for name in stale:
            print(f"{page(name)} is not current: python tools/recipe_reference.py", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        page(name).write_text(written(name), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
