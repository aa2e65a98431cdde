"""Reproducible random draws: a number that depends on a name alone, never on order or process."""

import xxhash


def draw(name: str, purpose: str) -> float:
    """A number in [0, 1), uniform over names, the same in every run and on every machine.

    Draws of one name for two purposes are independent, so that a document held out for
    validation is neither more nor less likely to be in the tokenizer's sample.
    """
    return (xxhash.xxh3_64_intdigest(f"{purpose}\0{name}".encode()) >> 11) / (1 << 53)
