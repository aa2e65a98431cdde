"""Task functions for the flow tests; worker processes import them by name."""

import os
import signal
import time
from pathlib import Path

from tongwen.errors import InputError
from tongwen.files import write_text
from tongwen.flow.exchange import PARTS, Part, write_part_file
from tongwen.flow.task import TaskContext, step


@step("step", inputs=("text",))
def upper(context: TaskContext) -> dict[str, int]:
    text = context.file("text").read_text(encoding="utf-8")
    (context.out / "text").write_text(text.upper(), encoding="utf-8")
    return {"characters": len(text)}


@step("step", inputs=("text",))
def partition_words(context: TaskContext) -> dict[str, int]:
    words = context.file("text").read_text(encoding="utf-8").split()
    partitions = context.params["partitions"]
    parts = [
        "\n".join(word for word in words if len(word) % partitions == number).encode()
        for number in range(partitions)
    ]
    write_part_file(context.out / PARTS, list(map(len, parts)), b"".join(parts))
    return {"words": len(words)}


@step("join", inputs=("parts",))
def join(context: TaskContext) -> dict[str, int]:
    parts = [Part(path, context.params["partition"]) for path in context.inputs["parts"]]
    texts = [part.read().decode() for part in parts]
    (context.out / "joined").write_text("|".join(texts), encoding="utf-8")
    return {"parts": len(texts)}


@step("step", inputs=("text",))
def die_once(context: TaskContext) -> dict[str, int]:
    """Kill the own process on the first call; a file remembers it."""
    witness = Path(context.params["witness"])
    if not witness.exists():
        witness.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return upper(context)


@step("step", inputs=("text",))
def hold_once(context: TaskContext) -> dict[str, int]:
    """Wait to be killed on the first call, and write down who waits for whom."""
    witness = Path(context.params["witness"])
    if not witness.exists():
        write_text(witness, f"{os.getpid()} {os.getppid()}")
        time.sleep(100)
    return upper(context)


@step("step", inputs=("text",))
def grow(context: TaskContext) -> dict[str, int]:
    """The line `large` takes 600 MiB of memory."""
    for line in context.file("text").read_text(encoding="utf-8").splitlines():
        context.mark(line)
        if line == "large" and line not in context.skip:
            filled = bytearray(b"x" * (600 << 20))
            time.sleep(100 * bool(filled))
    return upper(context)


@step("step", inputs=("text",))
def die_always(context: TaskContext) -> dict[str, int]:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


@step("step", inputs=("text",))
def die_at_poison(context: TaskContext) -> dict[str, int]:
    """Handle the lines one by one; the line `poison` kills the process, `slow` never ends."""
    kept = []
    for line in context.file("text").read_text(encoding="utf-8").splitlines():
        context.mark(line)
        if line in context.skip:
            continue
        if line == "poison":
            os.kill(os.getpid(), signal.SIGKILL)
        if line == "slow":
            time.sleep(60)
        kept.append(line)
    (context.out / "text").write_text("\n".join(kept), encoding="utf-8")
    return {"lines": len(kept)}


@step("step", inputs=("text",))
def refuse(context: TaskContext) -> dict[str, int]:
    raise InputError(f"{context.file('text').name} is not a song", hint="sing")


@step("step", inputs=("text",))
def stumble(context: TaskContext) -> dict[str, int]:
    raise ZeroDivisionError("a bug")
