"""Kept checkpoints of finished runs as model folders, without the states of their optimizers."""

from pathlib import Path

import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader

from tongwen.files import remove_tree
from tongwen.model.folder import read_config, write_model_folder
from tongwen.model.llama import Llama
from tongwen.train.checkpoint import COMPLETE, read_weights
from tongwen.train.retention import CURRENT, FINISHED, Pruned, by_step, size_of, step_of

_MODEL = "model"


def keep_weights_only(checkpoints: Path, *, is_trial: bool = False) -> Pruned | None:
    """Replace the kept checkpoints of the current, finished run by model folders.

    `step-00001000` becomes `model-00001000` beside it, with the tokenizer of the run's model, in
    float32: about a third of the bytes. Nothing can branch from it any more.

    Args:
        checkpoints: folder of all runs of a stage.
        is_trial: write and remove nothing.

    Returns:
        What was replaced; None where the run is not finished or has trained adapters alone.
    """
    out = checkpoints.parent
    current = checkpoints / CURRENT
    name = current.read_text("utf-8").strip() if current.exists() else ""
    folder = checkpoints / name
    if not name or not (folder / FINISHED).exists() or not (out / _MODEL).is_dir():
        return None
    config = read_config(out / _MODEL)
    with torch.device("meta"):
        wanted = {f"model.{key}" for key, _ in Llama(config).named_parameters()}
    steps = [path for path in by_step(folder) if (path / COMPLETE).exists()]
    if any(
        wanted - set(FileSystemReader(path).read_metadata().state_dict_metadata) for path in steps
    ):
        return None
    before, written = size_of(steps), []
    for path in steps:
        model = folder / f"model-{step_of(path):08d}"
        written.append(model)
        if is_trial:
            continue
        write_model_folder(model, config, read_weights(path, config), out / _MODEL, torch.float32)
        remove_tree(path)
    after = 4 * config.parameters * len(steps) if is_trial else size_of(written)
    return Pruned(folder, tuple(steps), tuple(written), before - after, "weights only")
