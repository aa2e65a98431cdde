"""Union-find with path halving (Tarjan and van Leeuwen 1984) over arrays of parents, compiled."""

import numpy as np
import numpy.typing as npt

from tongwen.kernels import kernel


@kernel
def join_links(
    parents: npt.NDArray[np.int64],
    most_equal: npt.NDArray[np.uint16],
    firsts: npt.NDArray[np.int64],
    seconds: npt.NDArray[np.int64],
    equal: npt.NDArray[np.uint16],
) -> None:
    """Join the trees of linked nodes, with path halving; a root is the smallest of its tree."""
    for link in range(len(firsts)):
        first, second = firsts[link], seconds[link]
        most_equal[first] = max(most_equal[first], equal[link])
        most_equal[second] = max(most_equal[second], equal[link])
        while parents[first] != first:
            parents[first] = parents[parents[first]]
            first = parents[first]
        while parents[second] != second:
            parents[second] = parents[parents[second]]
            second = parents[second]
        parents[max(first, second)] = min(first, second)


@kernel
def settle(parents: npt.NDArray[np.int64]) -> None:
    """Let every node name its root; parents are never larger than their children."""
    for node in range(len(parents)):
        parents[node] = parents[parents[node]]
