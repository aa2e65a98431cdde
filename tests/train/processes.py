"""Several processes on this machine that train together, as torchrun would start them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LIMIT_SECONDS = 280


def start_together(count: int, command: list[str]) -> list[subprocess.Popen[str]]:
    """`count` processes of the command, which find each other on the loopback interface."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [
        subprocess.Popen(
            command,
            env={
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(count),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": "1",
                "GLOO_SOCKET_IFNAME": "lo",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def end_together(processes: list[subprocess.Popen[str]]) -> str:
    """Wait for all; the first one's output. One that fails takes the others with it."""
    try:
        output, errors = processes[0].communicate(timeout=LIMIT_SECONDS)
        for process in processes[1:]:
            process.wait(timeout=LIMIT_SECONDS)
        for process in processes:
            if process.returncode:
                rest = errors if process is processes[0] else process.communicate()[1]
                raise AssertionError(rest[-3000:])
        return output
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def curves(count: int, out: Path, layouts: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Metrics of short runs of one tiny model, one run for each layout; see `layout_worker.py`."""
    words = [sys.executable, str(HERE / "layout_worker.py"), str(out), json.dumps(layouts)]
    output = end_together(start_together(count, words))
    found: list[list[dict[str, Any]]] = json.loads(output.splitlines()[-1])
    return found
