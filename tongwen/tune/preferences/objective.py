"""Direct preference optimisation: Rafailov et al. 2023, arXiv:2305.18290, equation 7.

Shape suffixes in this file: B sequences, T tokens, N tokens that have a target, A answers of a
sequence (two a pair), P pairs of a sequence.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor

from tongwen.files import disk_errors
from tongwen.model.llama import Llama
from tongwen.progress import Progress
from tongwen.train.adapters.lora import adapters_off
from tongwen.train.data.sequences import Batch
from tongwen.train.loss.softmax import IGNORED
from tongwen.train.loss.token_log_probabilities import token_log_probabilities
from tongwen.train.objective import Objective
from tongwen.tune.preferences.data import EncodedPairs, Float32s, PreferenceSequences


def answer_log_probabilities(model: Llama, batch: Batch, dtype: torch.dtype) -> Tensor:
    """Sum of the log-probabilities of each answer's tokens, nats, float32, (B, A)."""
    assert batch.references_BA is not None
    assert batch.documents_BT is not None
    hidden_BTM = model(
        batch.token_ids_BT,
        positions_BT=batch.positions_BT,
        documents_BT=batch.documents_BT,
        dtype=dtype,
    )
    chosen_N = (batch.targets_BT.flatten() != IGNORED).nonzero().squeeze(1)
    log_probabilities_N = token_log_probabilities(
        hidden_BTM.flatten(0, -2).index_select(0, chosen_N),
        model.lm_head.weight,
        batch.targets_BT.flatten().index_select(0, chosen_N),
    )
    rows, answers = batch.references_BA.shape
    row_N = chosen_N // batch.targets_BT.shape[1]
    answer_N = row_N * answers + batch.documents_BT.flatten().index_select(0, chosen_N)
    sums = torch.zeros(rows * answers, device=log_probabilities_N.device)
    return sums.index_add(0, answer_N, log_probabilities_N).view(rows, answers)


def margins(log_probabilities_BA: Tensor, references_BA: Tensor, beta: float) -> Tensor:
    """By how much more the chosen answer of each pair gained than the rejected one, times beta:
    (pairs,), without the places that no pair fills.
    """
    gains_BP2 = (log_probabilities_BA - references_BA).reshape(len(references_BA), -1, 2)
    margins_BP: Tensor = beta * (gains_BP2[..., 0] - gains_BP2[..., 1])
    return margins_BP[~references_BA[:, ::2].isnan()]


class PreferenceObjective(Objective):
    """-log sigmoid(margin) of each pair.

    Args:
        beta: how strongly the reference holds the model.
        data: training and held-out pairs; their `references` are filled by `prepare`.
        sequence_tokens: of the sequences that references are computed in.
        sequences_at_once: of them.
        device: of the model.
        progress: what the user sees.
    """

    def __init__(
        self,
        beta: float,
        data: list[EncodedPairs],
        *,
        sequence_tokens: int,
        sequences_at_once: int,
        device: torch.device,
        progress: Progress,
    ) -> None:
        self._beta = beta
        self._data = data
        self._sequence_tokens = sequence_tokens
        self._at_once = sequences_at_once
        self._device = device
        self._progress = progress

    def prepare(
        self, folder: Path, key: str, first_model: Callable[[], Llama], dtype: torch.dtype
    ) -> None:
        """Compute the log-probabilities of all answers under the first weights, or read them."""
        path = folder / f"references-{key}.npy"
        wanted = sum(pairs.pairs for pairs in self._data)
        kept = np.load(path) if path.is_file() else None
        if kept is None or kept.shape != (wanted, 2):
            model = first_model()
            kept = np.concatenate([self._references(model, pairs, dtype) for pairs in self._data])
            partial = path.with_name(f".{path.name}.partial")
            with disk_errors(path):
                folder.mkdir(parents=True, exist_ok=True)
                with partial.open("wb") as file:
                    np.save(file, kept)
                partial.replace(path)
        place = 0
        for pairs in self._data:
            pairs.references[:] = kept[place : place + pairs.pairs]
            place += pairs.pairs

    @torch.no_grad()
    def _references(self, model: Llama, pairs: EncodedPairs, dtype: torch.dtype) -> Float32s:
        data = PreferenceSequences(pairs, self._sequence_tokens, seed=0)
        found = np.full((pairs.pairs, 2), np.nan, dtype=np.float32)
        with adapters_off(model):
            for start in range(0, data.sequences, self._at_once):
                numbers = np.arange(start, min(start + self._at_once, data.sequences))
                batch = data.sequences_at(numbers).to(self._device)
                sums_BA = answer_log_probabilities(model, batch, dtype).cpu().numpy()
                for row, number in enumerate(numbers.tolist()):
                    for local, pair in enumerate(data.pairs_at(number)):
                        found[pair] = sums_BA[row, 2 * local : 2 * local + 2]
                self._progress.update(
                    "reference", int(numbers[-1]) + 1, data.sequences, "of the first weights"
                )
        return found

    def loss_sum(self, model: Llama, batch: Batch, dtype: torch.dtype) -> Tensor:
        assert batch.references_BA is not None
        sums_BA = answer_log_probabilities(model, batch, dtype)
        return -F.logsigmoid(margins(sums_BA, batch.references_BA, self._beta)).sum()

    def measured(self, model: Llama, batch: Batch, dtype: torch.dtype) -> Tensor:
        """Sums over the pairs of a batch: loss, pairs with a margin above 0, and margin, (3,)."""
        assert batch.references_BA is not None
        sums_BA = answer_log_probabilities(model, batch, dtype)
        found = margins(sums_BA, batch.references_BA, self._beta)
        return torch.stack([-F.logsigmoid(found).sum(), (found > 0).sum().float(), found.sum()])
