"""The order of the road, and where a run directory keeps its models.

The stages themselves are in `tongwen.road.stages`; this is what lower floors know of them.
"""

from pathlib import Path

from tongwen.errors import InputError

TRAINING_STAGES = ("pretrain", "extend", "tune")
STAGES = (
    "crawl", "curate", "tokenizer", "encode", "plan", *TRAINING_STAGES,
    "evaluate", "quantize", "export",
)  # fmt: skip
LATEST_MODEL_FIRST = ("tune", "extend", "pretrain")
"""Of several stages that trained a model, the one whose model the rest of the road takes."""

_RUN_MODELS = (
    "model",
    "stages/export/model",
    *(f"stages/{name}/model" for name in LATEST_MODEL_FIRST),
)
_RUN_QUANTIZED_MODELS = ("stages/quantize/model",)


def find_model_folder(path: Path, *, is_quantized: bool = False) -> Path:
    """The folder with `config.json`: `path` itself, its `model/`, or a run directory's latest.

    Args:
        path: a Hugging Face folder, the folder of a stage that makes a model, or a run directory.
        is_quantized: of a run directory take the quantized model.

    Raises:
        InputError: there is no model.
    """
    candidates = _RUN_QUANTIZED_MODELS if is_quantized else _RUN_MODELS
    for candidate in (".", *candidates):
        if (path / candidate / "config.json").is_file():
            return path / candidate
    if not path.is_dir():
        raise InputError(
            f"there is no model folder {path}",
            hint="name a folder with config.json, or a run such as runs/sample",
        )
    stage = "quantize" if is_quantized else "pretrain"
    raise InputError(
        f"{path} holds no {'quantized ' if is_quantized else ''}model: no config.json in it or in "
        f"{', '.join(candidates)}",
        hint=f"is the run finished? It needs its stage `{stage}`: tongwen run RECIPE",
    )
