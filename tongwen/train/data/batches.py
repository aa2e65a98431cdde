"""How many tokens each optimizer step takes: a ramp to the full batch, a function of the step."""

from bisect import bisect_right
from dataclasses import dataclass


@dataclass(frozen=True)
class BatchPlan:
    """Stretches of steps with one batch size each.

    Attributes:
        first_steps: number of the first step of each stretch, ascending from 0.
        first_tokens: tokens trained on before it.
        batch_tokens: tokens of each of its steps.
        steps: of the whole run.
    """

    first_steps: tuple[int, ...]
    first_tokens: tuple[int, ...]
    batch_tokens: tuple[int, ...]
    steps: int

    @classmethod
    def of(
        cls,
        max_tokens: int,
        batch_tokens: int,
        initial_batch_tokens: int | None,
        ramp_tokens: float,
    ) -> "BatchPlan":
        """Batches that double from the initial to the full size, for equal shares of `ramp_tokens`.

        A small batch early costs little progress per token (McCandlish et al. 2018,
        arXiv:1812.06162: the critical batch grows as the loss falls). The last batch may go beyond
        `max_tokens`: all are whole.
        """
        sizes = [initial_batch_tokens or batch_tokens]
        while sizes[-1] < batch_tokens:
            sizes.append(min(2 * sizes[-1], batch_tokens))
        first_steps, first_tokens = [0], [0]
        for size in sizes[:-1]:
            steps = max(1, round(ramp_tokens / (len(sizes) - 1) / size))
            first_steps.append(first_steps[-1] + steps)
            first_tokens.append(first_tokens[-1] + steps * size)
        left = max(0, max_tokens - first_tokens[-1])
        return cls(
            tuple(first_steps),
            tuple(first_tokens),
            tuple(sizes),
            first_steps[-1] + -(-left // batch_tokens),
        )

    def tokens_before(self, step: int) -> int:
        """Tokens of the first `step` steps."""
        place = bisect_right(self.first_steps, step) - 1
        return (
            self.first_tokens[place] + (step - self.first_steps[place]) * self.batch_tokens[place]
        )

    def batch_tokens_of(self, step: int) -> int:
        """Tokens of step number `step`, counted from 0."""
        return self.batch_tokens[bisect_right(self.first_steps, step) - 1]
