"""The group of processes that torchrun started, from their environment variables."""

import os


def world_size() -> int:
    """How many there are; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Whether this is the one that prints and writes."""
    return int(os.environ.get("RANK", "0")) == 0
