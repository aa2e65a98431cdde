"""The modules of this folder that tests share."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode adds no path

from fake_server import FakeServer


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    """A server on loopback whose answers a test scripts."""
    with FakeServer() as server:
        yield server
