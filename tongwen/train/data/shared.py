"""The next batch of a run on several processes, and what they all know of it together."""

from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
import xxhash

from tongwen.train.data.sequences import Batch, PackedSequences
from tongwen.train.parallel.mesh import Processes


@dataclass(frozen=True)
class SharedBatch:
    """One process's part of a batch.

    Attributes:
        batch: this process's sequences; its `targets` are those of all processes.
        digest: of all tokens of the batch in their order, however many processes share it.
        must_stop: whether any process was told to stop.
        is_checkpoint_written: whether all have written their part of a begun checkpoint.
    """

    batch: Batch
    digest: str
    must_stop: bool
    is_checkpoint_written: bool


def shared_batch(
    data: PackedSequences,
    first_sample: int,
    sequences: int,
    processes: Processes,
    *,
    wants_stop: bool,
    is_checkpoint_written: bool,
) -> SharedBatch:
    """This process's part of the `sequences` from `first_sample` on.

    One exchange of four numbers carries all that the processes must agree on at a step.

    Args:
        data: of the run.
        first_sample: how many sequences were consumed before.
        sequences: of the whole batch.
        processes: that share it.
        wants_stop: whether this process was told to stop.
        is_checkpoint_written: whether this process has written its part.
    """
    here = sequences // processes.data_size
    first = processes.data_place * here
    batch = data.batch(first_sample + first, here)
    # The processes of one data place hold the same sequences: one of them counts them.
    owns = all(processes.place(axis) == 0 for axis in ("pipeline", "context", "tensor"))
    known = torch.tensor(
        [
            batch.targets if owns else 0,
            _rows_digest(batch, first) if owns else 0,
            wants_stop,
            is_checkpoint_written,
        ],
        dtype=torch.int64,
    )
    if processes.count > 1:
        dist.all_reduce(known)
    targets, digest, stops, written = known.tolist()
    return SharedBatch(
        replace(batch, targets=targets),
        f"{digest % 2**64:016x}",
        must_stop=stops > 0,
        is_checkpoint_written=written == processes.count,
    )


def _rows_digest(batch: Batch, first: int) -> int:
    """A signed number of 64 bits. Its sum over the parts of a batch names all tokens in order, into
    however many parts the batch is cut.
    """
    total = 0
    for row, ids_T in enumerate(batch.token_ids_BT.numpy(), start=first):
        total += xxhash.xxh3_64_intdigest(ids_T.tobytes()) * (2 * row + 1)
    return (total + 2**63) % 2**64 - 2**63
