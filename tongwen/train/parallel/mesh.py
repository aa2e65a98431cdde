"""The processes of a run as a mesh, also when there is one.

torch's DeviceMesh of the axes pipeline, replicate, shard, context, tensor, the last varying
fastest: neighbouring processes, which have the fastest links, share matrices.
"""

import atexit
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import HashStore
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from tongwen.flow.group import world_size
from tongwen.train.parallel.settings import ParallelSettings

_AXES = ("pipeline", "replicate", "shard", "context", "tensor")
_TIMEOUT = timedelta(minutes=30)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


@dataclass(frozen=True)
class Processes:
    """The mesh, and this process's place in it.

    Attributes:
        device: of this process.
        data_mesh: five axes, for the batch: which sequences and tokens are here.
        weight_mesh: four axes, for the weights: context is part of shard, since processes that
            share a sequence share the weights too.
        background: a group for what happens beside the training steps.
    """

    device: torch.device
    data_mesh: DeviceMesh
    weight_mesh: DeviceMesh
    background: dist.ProcessGroup

    @classmethod
    def start(cls, settings: ParallelSettings, device: torch.device) -> "Processes":
        """Join the processes that torchrun started, or be alone.

        Raises:
            RecipeError: the degrees do not multiply to the number of processes.
        """
        degrees = settings.degrees(world_size())
        if not dist.is_initialized():
            backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
            if world_size() > 1:
                dist.init_process_group(backend, timeout=_TIMEOUT)
            else:
                dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
            atexit.register(_leave)
        pipeline, replicate, shard, context, tensor = degrees
        data_mesh = init_device_mesh(device.type, degrees, mesh_dim_names=_AXES)
        weight_mesh = init_device_mesh(
            device.type,
            (pipeline, replicate, shard * context, tensor),
            mesh_dim_names=("pipeline", "replicate", "shard", "tensor"),
        )
        background = dist.new_group(backend="gloo", timeout=_TIMEOUT)
        assert background is not None
        return cls(device, data_mesh, weight_mesh, background)

    @property
    def rank(self) -> int:
        return dist.get_rank()

    @property
    def count(self) -> int:
        return dist.get_world_size()

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def size(self, axis: str) -> int:
        """Degree of one of the five axes."""
        return self.data_mesh.size(_AXES.index(axis))

    def place(self, axis: str) -> int:
        """This process's place along an axis."""
        return self.data_mesh.get_local_rank(axis)

    def group(self, axis: str) -> dist.ProcessGroup:
        """The processes along an axis that agree with this one in all others."""
        return self.data_mesh.get_group(axis)

    @property
    def data_size(self) -> int:
        """Into how many parts the batch's sequences are cut."""
        return self.size("replicate") * self.size("shard")

    @property
    def data_place(self) -> int:
        """Which of them is here."""
        return self.place("replicate") * self.size("shard") + self.place("shard")

    @property
    def is_last_stage(self) -> bool:
        """Whether the losses come up here."""
        return self.place("pipeline") == self.size("pipeline") - 1

    def sum_of_parts(self, value: Tensor) -> Tensor:
        """Sum over the parts of the batch; each is counted once, though tensor processes share it.

        `value` is this process's part, in the last pipeline stage; elsewhere it is ignored.
        """
        if self.count == 1:
            return value
        counted = self.is_last_stage and self.place("tensor") == 0
        total = value.clone() if counted else torch.zeros_like(value)
        dist.all_reduce(total)
        return total

    def broadcast(self, value: Any) -> Any:
        """The first process's value, everywhere."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.background)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Everybody's value, in the order of the ranks."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, value, group=self.background)
        return found
