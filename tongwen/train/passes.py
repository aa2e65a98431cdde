"""Forward and backward passes of one process: its part of the batch through its part of the model.

Shape suffixes in this file: B sequences, T tokens here, S tokens of the whole sequence, M hidden
size.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

from tongwen.model.llama import KeyStore, Llama
from tongwen.train.adapters.lora import DropoutSeed
from tongwen.train.data.sequences import Batch
from tongwen.train.lanes import Lanes, lanes_for
from tongwen.train.loss.cross_entropy import Sampling, cross_entropy_sum
from tongwen.train.loss.softmax import IGNORED, VocabularyShare
from tongwen.train.objective import Objective
from tongwen.train.parallel.context import GatheredKeys, share_of
from tongwen.train.parallel.gradients import reduce_partial_gradients
from tongwen.train.parallel.mesh import Processes
from tongwen.train.parallel.tensor import local, vocabulary_share
from tongwen.train.settings import TrainSettings

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Hidden states, weights of the output head and targets to the sum of the losses."""


def loss_sum(
    model: Llama,
    batch: Batch,
    dtype: torch.dtype,
    keys: KeyStore | None = None,
    loss: Loss = cross_entropy_sum,
) -> Tensor:
    """Sum of the losses of a batch's targets, in nats, float32."""
    hidden_BTM = model(
        batch.token_ids_BT,
        positions_BT=batch.positions_BT,
        documents_BT=batch.documents_BT if keys is None else None,
        keys=keys,
        dtype=dtype,
    )
    return loss(hidden_BTM, local(model.lm_head.weight), batch.targets_BT)


def mean_loss(
    model: Llama,
    batch: Batch,
    dtype: torch.dtype,
    keys: KeyStore | None = None,
    loss: Loss = cross_entropy_sum,
) -> Tensor:
    """Sum of the batch's losses over the number of targets of the whole batch, in nats.

    The sum of this over micro-batches and processes is the mean over the batch, however it is
    split.
    """
    return loss_sum(model, batch, dtype, keys, loss) / max(1, batch.targets)


def add_gradients(
    model: Llama,
    batch: Batch,
    dtype: torch.dtype,
    keys: KeyStore | None = None,
    loss: Loss = cross_entropy_sum,
) -> Tensor:
    """Add the gradients of `mean_loss` to the model's; gives it, float32 without dimensions."""
    total = mean_loss(model, batch, dtype, keys, loss)
    total.backward()  # type: ignore[no-untyped-call]
    return total.detach()


def training_loss(
    settings: TrainSettings, generator: torch.Generator, share: VocabularyShare | None = None
) -> Loss:
    """The loss that the settings ask for; `generator` draws the samples of its gradient."""
    samples = settings.head_gradient_samples
    return partial(
        cross_entropy_sum,
        z_loss=settings.z_loss,
        share=share,
        sampling=None if samples is None else Sampling(samples, generator),
    )


class Passes:
    """How this process works through batches.

    Args:
        model: this process's part of it.
        processes: that share the run.
        dtype: of the activations.
        settings: of the run.
        objective: see `Job`.
        dropout_seed: of the model's adapters, if it has some.
    """

    def __init__(
        self,
        model: Llama,
        processes: Processes,
        dtype: torch.dtype,
        settings: TrainSettings,
        objective: Objective | None = None,
        dropout_seed: DropoutSeed | None = None,
    ) -> None:
        self._model = model
        self._processes = processes
        self._dtype = dtype
        self._settings = settings
        self._objective = objective
        self._dropout_seed = dropout_seed
        self._rows = settings.sequences_per_micro_batch
        self._lanes = Lanes(model, lanes_for(self._rows, processes.device, processes.count))
        self._generator = torch.Generator()
        self._share = vocabulary_share(model, processes.data_mesh["tensor"])
        self._loss = training_loss(settings, self._generator, self._share)
        self._pipe = (
            _Pipe(self._stage_forward(), processes, self._stage_loss)
            if processes.size("pipeline") > 1
            else None
        )

    def backward(self, batch: Batch, samples_before: int) -> Tensor:
        """Add the gradients of a batch's mean loss; gives this process's part of that loss.

        `batch.targets` counts those of all processes. The gradients are complete afterwards, but
        where FSDP keeps each process's part of them. Whatever is random in them follows from the
        run's seed, `samples_before` and this process's place.
        """
        device = self._processes.device
        places = self._processes.data_place, self._processes.place("context")
        seed = np.random.SeedSequence((self._settings.seed, samples_before, *places))
        drawn = int(seed.generate_state(1, np.uint64)[0] >> 1)
        self._generator.manual_seed(drawn)
        if self._pipe is not None:
            parts = self._pipe.run(self._here(batch.to(device)), self._rows, backward=True)
            loss = torch.stack(parts).sum() if parts else torch.zeros((), device=device)
        else:
            loss = torch.zeros((), device=device)
            for part in self._lanes.run(
                [
                    partial(self._backward, here, self._loss_of(here), drawn + (number << 32))
                    for number, here in enumerate(
                        map(self._here, batch.split(self._rows // self._lanes.count))
                    )
                ]
            ):
                loss += part
        reduce_partial_gradients(self._model)
        return loss

    def _backward(self, here: Batch, loss: Loss, seed: int) -> Tensor:
        here = here.to(self._processes.device)
        if self._dropout_seed is not None:
            self._dropout_seed.set(seed)
        if self._objective is not None:
            total = self._objective.loss_sum(self._model, here, self._dtype) / here.targets
            total.backward()  # type: ignore[no-untyped-call]
            return total.detach()
        return add_gradients(self._model, here, self._dtype, self._keys(here), loss)

    def _loss_of(self, here: Batch) -> Loss:
        """The loss of one pass of several. The random numbers in it are those that follow on the
        passes before it, whichever is computed first and however many there are.
        """
        if self._settings.head_gradient_samples is None:
            return self._loss
        own = self._generator.clone_state()
        targets = int((here.targets_BT != IGNORED).sum())
        torch.rand(targets, generator=self._generator, dtype=torch.float64)
        return training_loss(self._settings, own, self._share)

    def without_dropout(self) -> None:
        """Until the next training pass; for whoever calls the model itself."""
        if self._dropout_seed is not None:
            self._dropout_seed.set(None)

    @torch.no_grad()
    def measured(self, batch: Batch) -> Tensor:
        """What the objective measures in a micro-batch; nothing is left out by dropout."""
        assert self._objective is not None
        self.without_dropout()
        here = batch.to(self._processes.device)
        return self._objective.measured(self._model, here, self._dtype)

    @torch.no_grad()
    def loss_sum(self, batch: Batch) -> Tensor:
        """This process's part of the sum of the losses of a micro-batch."""
        here = self._here(batch.to(self._processes.device))
        self.without_dropout()
        if self._pipe is None:
            return loss_sum(self._model, here, self._dtype, self._keys(here), self._loss)
        whole = replace(here, targets=1)
        parts = self._pipe.run(whole, len(batch.token_ids_BT), backward=False)
        return torch.stack(parts).sum() if parts else torch.zeros((), device=here.targets_BT.device)

    def _here(self, batch: Batch) -> Batch:
        """The tokens of a batch that this process takes."""
        if self._processes.size("context") == 1:
            return batch
        return share_of(batch, self._processes.group("context"))

    def _keys(self, batch: Batch) -> KeyStore | None:
        context = self._processes.size("context")
        if context == 1:
            return None
        tokens = context * batch.token_ids_BT.shape[1]
        return GatheredKeys(batch.documents_BT, tokens, self._processes.group("context"))

    def _stage_forward(self) -> nn.Module:
        return _StageForward(self._model, self._dtype, self._keys)

    def _stage_loss(self, hidden_BTM: Tensor, targets_BT: Tensor, targets: int) -> Tensor:
        total = self._loss(hidden_BTM, local(self._model.lm_head.weight), targets_BT)
        return total / max(1, targets)


class _StageForward(nn.Module):
    """A stage's model as the schedule calls it: with the tensors of one micro-batch."""

    def __init__(
        self, model: Llama, dtype: torch.dtype, keys: Callable[[Batch], KeyStore | None]
    ) -> None:
        super().__init__()
        self.model = model
        self._dtype = dtype
        self._keys = keys

    def forward(
        self, x: Tensor, positions_BT: Tensor, documents_BS: Tensor | None = None
    ) -> Tensor:
        batch = Batch(positions_BT, positions_BT, positions_BT, documents_BS, 0)
        keys = self._keys(batch)
        hidden: Tensor = self.model(
            x,
            positions_BT=positions_BT,
            documents_BT=documents_BS if keys is None else None,
            keys=keys,
            dtype=self._dtype,
        )
        return hidden


class _Pipe:
    """The 1F1B schedule, made anew for each number and size of micro-batches."""

    def __init__(
        self,
        module: nn.Module,
        processes: Processes,
        loss: Callable[[Tensor, Tensor, int], Tensor],
    ) -> None:
        self._module = module
        self._processes = processes
        self._loss = loss
        self._targets = 1
        self._schedules: dict[Any, Schedule1F1B | ScheduleGPipe] = {}

    def run(self, batch: Batch, rows: int, *, backward: bool) -> list[Tensor]:
        """Losses of the micro-batches in the last stage; nothing in the others."""
        self._targets = batch.targets
        count = len(batch.token_ids_BT) // rows
        key = (tuple(batch.token_ids_BT.shape), count, backward)
        if key not in self._schedules:
            self._schedules[key] = self._schedule(count, backward)
        schedule = self._schedules[key]
        inputs = (batch.token_ids_BT,) if self._processes.place("pipeline") == 0 else ()
        options: dict[str, Any] = {"positions_BT": batch.positions_BT}
        if batch.documents_BT is not None:
            options["documents_BS"] = batch.documents_BT
        losses: list[Tensor] = []
        if self._processes.is_last_stage:
            options |= {"target": batch.targets_BT, "losses": losses}
        step = schedule.step if backward else schedule.eval
        step(*inputs, **options)
        return [loss.detach() for loss in losses]

    def _schedule(self, micro_batches: int, backward: bool) -> Schedule1F1B | ScheduleGPipe:
        stage = PipelineStage(
            self._module,
            self._processes.place("pipeline"),
            self._processes.size("pipeline"),
            self._processes.device,
            group=self._processes.group("pipeline"),
        )
        kind = Schedule1F1B if backward else ScheduleGPipe  # which need not fill the pipe
        return kind(
            stage,
            micro_batches,
            loss_fn=lambda hidden, targets: self._loss(hidden, targets, self._targets),
            scale_grads=False,
        )
