"""The model card: what the run itself recorded, in English and Chinese; nothing is typed in."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tongwen.model.config import ModelConfig

FORECASTS = "forecast.json"
"""Of an exported folder: stage -> forecast, outcome and residual."""

STAGES = {"pretrain": "pre-training 预训练", "extend": "extension 扩展长度", "tune": "tuning 微调"}


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """The content of a card. Parts that the run does not have are omitted.

    Attributes:
        name: of the model.
        license: as Hugging Face spells it.
        config: the model's shape.
        dtype: of the exported weights.
        funnel: content of `funnel.json`.
        encoded: counts of the encode stage.
        trained: stage -> counts, of the training stages in their order.
        results: the rows of `results.json`.
        settled: stage -> its `settlement.json`, for stages that were forecast.
        adapts: the base of a folder that holds adapters alone; empty for a whole model.
    """

    name: str
    license: str
    config: ModelConfig
    dtype: str
    funnel: Mapping[str, Any] | None = None
    encoded: Mapping[str, float] | None = None
    trained: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    results: Sequence[Mapping[str, Any]] = ()
    settled: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    adapts: str = ""


def model_card(facts: CardFacts) -> str:
    """The text of `README.md`; equal facts result in equal text."""
    parts = [
        _head(facts),
        _model(facts),
        _data(facts),
        _training(facts),
        _forecast(facts),
        _evaluation(facts),
        _use(facts.config, facts.adapts),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(facts: CardFacts) -> str:
    return "\n".join(
        (
            "---",
            "language:",
            "- en",
            "- zh",
            f"license: {json.dumps(facts.license)}",
            *(
                [f"base_model: {json.dumps(facts.adapts)}", "library_name: peft"]
                if facts.adapts
                else ["library_name: transformers"]
            ),
            "pipeline_tag: text-generation",
            "tags:",
            "- tongwen",
            "---",
            "",
            f"# {facts.name}",
            "",
            *_origin(facts.config),
        )
    )


def _model(facts: CardFacts) -> str:
    config = facts.config
    rows = [
        ("parameters 参数", f"{config.parameters:,}"),
        ("layers 层数", f"{config.num_hidden_layers}"),
        ("hidden size 隐藏维度", f"{config.hidden_size:,}"),
        ("vocabulary 词表", f"{config.vocabulary_size:,}"),
        ("context window 上下文窗口", f"{config.max_position_embeddings:,} tokens"),
        ("weights 权重", facts.dtype),
    ]
    return "## Model 模型\n\n" + _table(("", ""), rows)


def _data(facts: CardFacts) -> str:
    if facts.funnel is None:
        return ""
    read = facts.funnel["read"]
    rows = [("read 读入", "", f"{read['pages']:,}", f"{read['characters']:,}")]
    rows += [
        ("dropped 丢弃", stage["stage"], f"{stage['dropped']['pages']:,}",
         f"{stage['dropped']['characters']:,}")
        for stage in facts.funnel["stages"] if stage["dropped"]["pages"]
    ]  # fmt: skip
    rows += [
        ("kept 保留", kept["lang"], f"{kept['pages']:,}", f"{kept['characters']:,}")
        for kept in facts.funnel["kept"]
    ]
    text = "## Data 数据\n\n" + _table(("", "", "pages 网页", "characters 字符"), rows)
    if facts.encoded is not None and "tokens" in facts.encoded:
        tokens = f"{facts.encoded['tokens']:,.0f}"
        text += f"\n\nEncoded, the documents have {tokens} tokens. 编码后共 {tokens} 个词元。"
    return text


def _training(facts: CardFacts) -> str:
    if not facts.trained:
        return ""
    rows = [
        (STAGES[stage], *(f"{counts.get(key, 0):,.0f}" for key in ("tokens", "steps")))
        for stage, counts in facts.trained.items()
    ]
    return "## Training 训练\n\n" + _table(("", "tokens 词元", "steps 步"), rows)


def _forecast(facts: CardFacts) -> str:
    """Of the losses. Time and memory differ between runs that end with the same bytes, and the card
    must not: they are in a separate file.
    """
    if not facts.settled:
        return ""
    rows = [
        (
            STAGES[stage],
            row["language"],
            f"{row['tokens']:,}",
            f"{row['expected']:.3f}",
            f"{row['low']:.3f} – {row['high']:.3f}",
            "–" if row["outcome"] is None else f"{row['outcome']:.3f}",
            "–" if row["residual"] is None else f"{row['residual']:+.1%}",
        )
        for stage, settlement in facts.settled.items()
        for row in settlement["rows"]
        if row["what"] == "bits_per_byte"
    ]
    head = (
        "", "language 语言", "tokens 词元", "forecast 预测", "80 %", "outcome 结果",
        "residual 残差",
    )  # fmt: skip
    table = "\n\nBits per byte. 每字节比特。\n\n" + _table(head, rows) if rows else ""
    return (
        "## Forecast 预测\n\n"
        "What was forecast before the first step and sealed is held against the outcome in "
        f"`{FORECASTS}`. 第一步之前封存的预测及其结果见 `{FORECASTS}`。{table}"
    )


def _evaluation(facts: CardFacts) -> str:
    if not facts.results:
        return ""
    rows = [
        (
            row["task"],
            row["language"],
            row["metric"],
            f"{100 * row['value']:.1f} %",
            f"{100 * row['chance']:.1f} %",
            f"{row['n']:,}",
        )
        for row in facts.results
    ]
    head = ("task 任务", "language 语言", "metric 指标", "score 得分", "chance 随机", "items 题数")
    return "## Evaluation 评测\n\n" + _table(head, rows)


def _origin(config: ModelConfig) -> tuple[str, str, str]:
    """What it is and where its weights began."""
    name = str(config.to_huggingface()["architectures"][0]).removesuffix("ForCausalLM")
    english = f"A bilingual (English and Chinese) language model in the {name} architecture, "
    chinese = f"一个中英双语语言模型，采用 {name} 架构，"
    if config.read_from:
        english += (
            "continued with Tongwen from the weights of another model, whose licence holds for it "
            "too. "
        )
        chinese += "由同文在另一个模型的权重上继续训练而成，原模型的许可证同样适用。"
    else:
        english += "made with Tongwen from raw pages to weights. "
        chinese += "由同文从原始网页一路训练而成。"
    recorded = "Every number below was recorded by the run."
    return english + recorded, "", chinese + "下列数字均由训练流程自动记录。"


def _use(config: ModelConfig, adapts: str) -> str:
    load = 'model = AutoModelForCausalLM.from_pretrained(".")'
    package = "from transformers import AutoModelForCausalLM, AutoTokenizer"
    if adapts:
        load = f"base = AutoModelForCausalLM.from_pretrained({json.dumps(adapts)})\n"
        load += 'model = PeftModel.from_pretrained(base, ".")'
        package = f"from peft import PeftModel\n{package}"
    serve = "" if adapts else _SERVE
    ends = "the ids of `eos_token_id` in `generation_config.json`"
    ends_zh = "`generation_config.json` 中 `eos_token_id` 所列的编号"
    if not config.read_from:
        ends = "`<|im_end|>` or `<|endoftext|>`; both stand in `generation_config.json`"
        ends_zh = "`<|im_end|>` 或 `<|endoftext|>` 结束，二者均写在 `generation_config.json` 中"
    else:
        ends_zh += "结束"
    return f"""\
## Use 使用

```python
{package}

tokenizer = AutoTokenizer.from_pretrained(".")
{load}
messages = [{{"role": "user", "content": "你好"}}]
prompt = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
answer = model.generate(**prompt, max_new_tokens=256)
print(tokenizer.decode(answer[0], skip_special_tokens=True))
```

{serve}An answer ends at {ends}. The model
repeats what its data said, right or wrong: check what matters.
回答以{ends_zh}。
模型只复述其数据中的内容，对错皆有，重要之处请自行核实。"""


_SERVE = """\
Or `tongwen serve .` for a chat page and OpenAI's interface.
也可运行 `tongwen serve .`，打开对话网页和兼容 OpenAI 的接口。

"""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
