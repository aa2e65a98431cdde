"""How many tokens each group of documents gives to a mixture, and how often a document is used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Supply:
    """Documents of one group that have the same weight."""

    weight: float
    tokens: float


@dataclass(frozen=True)
class Allotment:
    """What one group gives.

    Attributes:
        available: tokens of its documents of weight above 0, each once.
        wanted: tokens by its share, before any limit.
        given: tokens it gives.
        scale: copies of a document are min(maximum epochs, scale × weight).
    """

    available: float
    wanted: float
    given: float
    scale: float

    @property
    def epochs(self) -> float:
        """How often its documents are used on average."""
        return self.given / self.available if self.available else 0.0


def allot(
    groups: Mapping[str, Sequence[Supply]],
    *,
    shares: Mapping[str, float] | None,
    tokens: float | None,
    maximum_epochs: float,
) -> dict[str, Allotment]:
    """Divide a budget among groups.

    With shares this is UniMax (Chung et al. 2023, arXiv 2304.09151, algorithm 1) with a share for
    each group in place of equal ones: groups that would run out first get all they have, times
    `maximum_epochs`; the rest is divided among the others by their shares. Without shares the
    weights alone say how much each group gives, and the budget scales them all alike.

    Args:
        groups: what there is.
        shares: of the groups, of any sum; a group without one gives nothing.
        tokens: the budget; None for what the weights give.
        maximum_epochs: limit of the copies of a document.
    """
    names = sorted(groups)
    natural = {
        name: sum(supply.weight * supply.tokens for supply in groups[name]) for name in names
    }
    if shares is None:
        every = [supply for name in names for supply in groups[name]]
        scale = 1.0 if tokens is None else _scale(every, tokens, maximum_epochs)
        whole = sum(natural.values())
        factor = 1.0 if tokens is None or not whole else tokens / whole
        return {
            name: _allotment(groups[name], natural[name] * factor, scale, maximum_epochs)
            for name in names
        }
    budget = sum(natural.values()) if tokens is None else tokens
    total = sum(shares.values())
    wanted = {name: budget * shares.get(name, 0.0) / total for name in names}
    given = _unimax(groups, shares, budget, maximum_epochs)
    return {
        name: _allotment(
            groups[name],
            wanted[name],
            _scale(groups[name], given[name], maximum_epochs),
            maximum_epochs,
        )
        for name in names
    }


def _capacity(supplies: Sequence[Supply], maximum_epochs: float) -> float:
    return maximum_epochs * sum(supply.tokens for supply in supplies if supply.weight > 0)


def _unimax(
    groups: Mapping[str, Sequence[Supply]],
    shares: Mapping[str, float],
    budget: float,
    maximum_epochs: float,
) -> dict[str, float]:
    """Tokens of each group: the scarcest first, counted by how long its share would last."""
    capacity = {name: _capacity(groups[name], maximum_epochs) for name in groups}
    given = dict.fromkeys(groups, 0.0)
    wanting = [name for name in sorted(groups) if shares.get(name, 0.0) > 0]
    wanting.sort(key=lambda name: (capacity[name] / shares[name], name))
    left = budget
    shares_left = [shares[name] for name in wanting]
    for place, name in enumerate(wanting):
        part = left * shares[name] / sum(shares_left[place:])
        given[name] = min(part, capacity[name])
        left -= given[name]
    return given


def _scale(supplies: Sequence[Supply], tokens: float, maximum_epochs: float) -> float:
    """The scale at which documents, each used min(maximum_epochs, scale × weight) times, give
    `tokens`; the least one at which all are used fully when they cannot.
    """
    rest = sorted((supply for supply in supplies if supply.weight > 0), key=lambda s: -s.weight)
    full = 0.0  # tokens of documents that are at the limit
    for place, supply in enumerate(rest):
        open_part = sum(item.weight * item.tokens for item in rest[place:])
        scale = (tokens - full) / open_part if open_part else 0.0
        if scale * supply.weight <= maximum_epochs:
            return max(0.0, scale)
        full += maximum_epochs * supply.tokens
    return maximum_epochs / rest[-1].weight if rest else 0.0


def _allotment(
    supplies: Sequence[Supply], wanted: float, scale: float, maximum_epochs: float
) -> Allotment:
    return Allotment(
        available=sum(supply.tokens for supply in supplies if supply.weight > 0),
        wanted=wanted,
        given=sum(
            min(maximum_epochs, scale * supply.weight) * supply.tokens for supply in supplies
        ),
        scale=scale,
    )
