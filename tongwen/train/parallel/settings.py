"""How many processes a run is cut over, and in which ways."""

from dataclasses import dataclass, fields

from tongwen.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class ParallelSettings:
    """Degrees of parallelism; their product is the number of processes.

    They change nothing of a run but its rounding and its speed: a checkpoint of one layout is
    continued on any other.
    """

    pipeline: int = 1
    """Groups of layers, each on its own processes (1F1B schedule)."""
    replicate: int = 1
    """Copies of the sharded weights; each takes its part of the batch."""
    shard: int | None = None
    """Processes that share the weights, gradients and optimizer of one copy and each take a part
    of its batch (FSDP2); what the other degrees leave of the processes when absent."""
    context: int = 1
    """Processes that share the tokens of one sequence."""
    tensor: int = 1
    """Processes that share each matrix, and between matrices the tokens."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and value < 1:
                raise RecipeError(f"parallel.{field.name} is {value}", hint="use 1 or more")

    @property
    def fewest_processes(self) -> int:
        """The product of the degrees that are named."""
        return self.pipeline * self.replicate * self.context * self.tensor * (self.shard or 1)

    def degrees(self, processes: int) -> tuple[int, int, int, int, int]:
        """All five degrees for a number of processes.

        Raises:
            RecipeError: the degrees do not multiply to it.
        """
        fixed = self.pipeline * self.replicate * self.context * self.tensor
        shard = self.shard or max(1, processes // fixed)
        if fixed * shard != processes:
            named = (
                f"pipeline {self.pipeline} x replicate {self.replicate} x shard {shard} x "
                f"context {self.context} x tensor {self.tensor}"
            )
            raise RecipeError(
                f"parallel asks for {fixed * shard} processes ({named}), {processes} run",
                hint=f"torchrun --nproc-per-node {fixed * shard} -m tongwen ..., "
                "or change the degrees",
            )
        return self.pipeline, self.replicate, shard, self.context, self.tensor
