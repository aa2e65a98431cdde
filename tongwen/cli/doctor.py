"""`tongwen doctor`: what this machine offers."""

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


@click.command(name="doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Print what this machine offers, to paste into a bug report."""
    facts = machine_facts()
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    for key, value in facts.items():
        click.echo(f"{key:>16}  {value if value is not None else 'not installed'}")
