"""Repeated spans by a suffix array: run by bench/spans.py in an environment of its own.

    python bench/spans_peers.py TEXTS SHORTEST

TEXTS is UTF-8 with a zero byte between documents. Prints seconds, memory, and the characters that
lie in a repeat of at least SHORTEST bytes of which the same stands before it.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pydivsufsort


def main() -> None:
    data = np.frombuffer(Path(sys.argv[1]).read_bytes(), np.uint8).copy()
    shortest = int(sys.argv[2])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    array = pydivsufsort.divsufsort(data)
    common = pydivsufsort.kasai(data, array)[:-1].astype(np.int64)
    # A repeat ends where its document ends.
    ends = np.append(np.flatnonzero(data == 0), len(data))
    room = ends[np.searchsorted(ends, array)] - array
    common = np.minimum(common, np.minimum(room[:-1], room[1:]))
    is_repeated = common >= shortest
    # In a run of suffixes with so long a common beginning all but the one that stands first go.
    runs = np.cumsum(np.concatenate(([1], ~is_repeated)))
    first = np.full(int(runs[-1]) + 1, len(data))
    np.minimum.at(first, runs, array)
    starts = array[array != first[runs]]
    steps = np.zeros(len(data) + 1, np.int64)
    np.add.at(steps, starts, 1)
    np.add.at(steps, starts + shortest, -1)
    covered = np.cumsum(steps)[:-1] > 0
    seconds = time.process_time() - started
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    is_first_byte = (data & 0xC0) != 0x80
    print(
        json.dumps(
            {
                "seconds": seconds,
                "mebibytes": memory,
                "characters": int((covered & is_first_byte).sum()),
            }
        )
    )


if __name__ == "__main__":
    main()
