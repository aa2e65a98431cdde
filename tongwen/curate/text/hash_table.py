"""Open addressing with linear probing (Knuth 1998, The Art of Computer Programming 3, section 6.4,
algorithm L), for tables of 64-bit hashes that are their own keys.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from tongwen.kernels import inner


@inner
def table_slots(number: int) -> int:
    """Slots of a table for so many keys: a power of two, at most half of them full, so that a
    search looks at one and a half slots on average.
    """
    slots = 16
    while slots < 2 * number:
        slots *= 2
    return slots


@inner
def find_slot(keys: npt.NDArray[np.uint64], key: np.uint64, home: np.uint64) -> Any:
    """The slot that holds a key, or the empty one that it belongs in.

    Args:
        keys: uint64 [power of two], 0 where empty; at least one slot is.
        key: not 0.
        home: a hash whose low bits choose where the search starts; the key itself if it is one.
    """
    mask = np.int64(len(keys) - 1)
    slot = np.int64(home & np.uint64(mask))
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + 1) & mask
    return slot
