"""The road: the stages in order, what each reads, and which recipe sections decide its output."""

from tongwen.flow.stage import Stage

_MODEL = ("tune", "extend", "pretrain")
_CARD = ("curate", "encode", "pretrain", "extend", "tune", "evaluate")
"""Stages whose numbers the model card tells."""

ROAD = (
    Stage(
        name="crawl",
        entry="tongwen.crawl.stage:run",
        sections=("crawl",),
        files="tongwen.crawl.stage:files",
    ),
    Stage(
        name="curate",
        entry="tongwen.curate.stage:run",
        files="tongwen.curate.stage:files",
        reads={"crawl": ("crawl",)},
        sections=("curate",),
        outputs=(
            "documents/*.parquet",
            "attributes/*.parquet",
            "funnel.json",
            "histograms.json",
            "rejects.jsonl",
            "score.json",
            "contamination.json",
            "mix.json",
        ),
    ),
    Stage(
        name="tokenizer",
        entry="tongwen.tokenizer.stage:run",
        reads={"documents": ("curate",)},
        uses={"documents": "documents/*"},
        sections=("tokenizer", "run.seed"),
    ),
    Stage(
        name="encode",
        entry="tongwen.encode.stage:run",
        reads={"documents": ("curate",), "tokenizer": ("tokenizer",)},
        uses={"documents": "documents/*"},
        sections=("encode",),
        outputs=("*.shard", "shards.json"),
    ),
    Stage(
        name="plan",
        entry="tongwen.plan.stage:run",
        reads={"shards": ("encode",), "tokenizer": ("tokenizer",)},
        sections=("plan", "model", "pretrain", "extend", "tune"),
        outputs=("plan.json",),
    ),
    Stage(
        name="pretrain",
        entry="tongwen.train.stage:run",
        is_grouped=True,
        reads={"shards": ("encode",), "tokenizer": ("tokenizer",)},
        sections=("model", "pretrain"),
        outputs=("model/*",),
        files="tongwen.train.stage:files",
    ),
    Stage(
        name="extend",
        entry="tongwen.extend.stage:run",
        is_grouped=True,
        reads={"model": ("pretrain",), "shards": ("encode",), "tokenizer": ("tokenizer",)},
        sections=("extend",),
        outputs=("model/*",),
    ),
    Stage(
        name="tune",
        entry="tongwen.tune.stage:run",
        is_grouped=True,
        reads={"model": ("extend", "pretrain"), "tokenizer": ("tokenizer",), "crawl": ("crawl",)},
        uses={"crawl": "gold/*"},
        optional=("crawl",),
        sections=("tune",),
        outputs=("model/*",),
        files="tongwen.tune.stage:files",
    ),
    Stage(
        name="evaluate",
        entry="tongwen.evaluate.stage:run",
        reads={"model": _MODEL, "crawl": ("crawl",)},
        uses={"crawl": "gold/*"},
        optional=("crawl",),
        sections=("evaluate",),
        outputs=("results.json", "items.jsonl"),
        files="tongwen.evaluate.stage:files",
    ),
    Stage(
        name="quantize",
        entry="tongwen.quantize.stage:run",
        reads={"model": _MODEL, "shards": ("encode",)},
        sections=("quantize",),
        outputs=("model/*", "quality.json"),
    ),
    Stage(
        name="export",
        entry="tongwen.export.stage:run",
        reads={
            "model": _MODEL,
            "tokenizer": ("tokenizer",),
            **{name: (name,) for name in _CARD},
        },
        optional=_CARD,
        sections=("export", "run.name"),
        outputs=("*config.json", "model*.safetensors", "tokenizer*", "special_*", "README.md"),
    ),
)
