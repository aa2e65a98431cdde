"""`tongwen doctor`: what this machine has."""

import json
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import click

from tongwen import __version__
from tongwen.packages import package_versions


def machine_facts() -> dict[str, Any]:
    """CPU, memory, disk and GPU of this machine, and versions of Python and the packages."""
    import psutil

    facts: dict[str, Any] = {
        "tongwen": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor_cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "memory_free_gib": round(psutil.virtual_memory().available / 2**30, 1),
        "disk_free_gib": round(shutil.disk_usage(Path.cwd()).free / 2**30, 1),
    }
    facts |= package_versions("data", "train", "serve", "report", "ray")
    if facts.get("torch") is not None:
        import torch

        facts["cpu_capability"] = torch.backends.cpu.get_cpu_capability()
        facts["gpus"] = [
            torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
        ]
    return facts


def model_facts(path: Path) -> dict[str, Any]:
    """What a model folder holds; reads its shapes and its tokenizer, but no weight.

    Raises:
        InputError: it cannot be used, with the key or tensor that is why.
    """
    from tongwen.model.folder import check_folder
    from tongwen.stages import find_model_folder
    from tongwen.tokenizer.text import Tokenizer

    folder = find_model_folder(path)
    config = check_folder(folder)
    tokenizer = Tokenizer.load(folder)
    scaling = config.rope_scaling
    return {
        "model": str(folder),
        "architecture": config.to_huggingface()["architectures"][0],
        "parameters": config.parameters,
        "window_tokens": config.max_position_embeddings,
        "rope_scaling": None if scaling is None else f"{scaling.kind} by {scaling.factor:g}",
        "sliding_window": config.sliding_window,
        "pieces": tokenizer.vocabulary_size,
        "has_chat": tokenizer.has_chat,
        "beginning_ids": list(tokenizer.beginning_ids),
        "stop_ids": list(tokenizer.stop_ids),
    }


@click.command(name="doctor")
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(model: Path | None, as_json: bool) -> None:
    """Print what this machine has, to paste into a bug report.

    With a model folder MODEL: say what the model is and whether it can be used here.
    """
    if model is not None:
        facts = model_facts(model)
        if as_json:
            click.echo(json.dumps(facts, ensure_ascii=False, indent=1))
            return
        for key, value in facts.items():
            click.echo(f"{key:>16}  {'none' if value is None else value}")
        return
    facts = machine_facts()
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    for key, value in facts.items():
        click.echo(f"{key:>16}  {value if value is not None else 'not installed'}")
