"""torchtitan's `Trainer` on a processor, for `bench/train.py`: its Llama 3, chunked loss, fused
AdamW, and FSDP2 over one process.

It takes a GPU for its device also where there is none. So the processor is named for it, with what
it asks every device for, before it is imported; what it computes stays its own.
"""

import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
import torch._utils


def _name_the_processor() -> None:
    """Before torchtitan is imported; its memory monitor asks `torch.cpu` what it asks a GPU."""
    torch._utils._get_available_device_type = lambda: "cpu"
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for name, answer in {
        "current_device": 0,
        "get_device_name": "cpu",
        "get_device_properties": SimpleNamespace(name="cpu", total_memory=memory),
        "memory_stats": {},
        "empty_cache": None,
        "reset_peak_memory_stats": None,
    }.items():
        setattr(torch.cpu, name, lambda *_, answer=answer: answer)
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    os.environ.update(alone, MASTER_PORT="29513")


def _model(job: dict[str, Any]) -> Any:
    """Its Llama in the bench's shape, with attention to whole causal rows."""
    from torchtitan.models import llama3
    from torchtitan.models.common import CosSinRoPE, Embedding, Linear, RMSNorm
    from torchtitan.models.common.attention import ScaledDotProductAttention

    hidden, vocabulary = job["hidden"], job["vocabulary"]
    layers = llama3._build_llama3_layers(
        n_layers=job["layers"], dim=hidden, n_heads=job["heads"], n_kv_heads=job["kv_heads"],
        hidden_dim=job["intermediate"], attn_backend="flex",
        rope=CosSinRoPE.Config(dim=64, max_seq_len=job["sequence_tokens"]),
    )  # fmt: skip
    for layer in layers:
        layer.attention.inner_attention = ScaledDotProductAttention.Config()
    return llama3.Llama3Model.Config(
        dim=hidden, vocab_size=vocabulary, enable_weight_tying=True, layers=layers,
        tok_embeddings=Embedding.Config(
            num_embeddings=vocabulary, embedding_dim=hidden,
            param_init=llama3._EMBEDDING_SKIP_INIT,
        ),
        norm=RMSNorm.Config(normalized_shape=hidden, param_init=llama3._NORM_INIT),
        lm_head=Linear.Config(
            in_features=hidden, out_features=vocabulary,
            param_init=llama3._output_linear_init(hidden),
        ),
    )  # fmt: skip


class _Batches:
    """In place of its data loader."""

    def __init__(self, ids: torch.Tensor, rows: int) -> None:
        self._batches = ids.split(rows)

    def __iter__(self) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
        for ids in self._batches:
            targets = torch.nn.functional.pad(ids[:, 1:], (0, 1), value=-100)
            yield {"input": ids}, targets


def run(
    job: dict[str, Any],
    ids: torch.Tensor,
    begin: Callable[[], None],
    end: Callable[[], None],
    *,
    is_compiled: bool,
) -> None:
    """Train a model of the shape that `job` gives, as in `bench/train.py`, on `ids`, (sequences,
    tokens); `begin` and `end` are called around each optimizer step.
    """
    _name_the_processor()
    import torchtitan.distributed.utils
    from torchtitan.models.llama3.config_registry import llama3_debugmodel
    from torchtitan.trainer import Trainer

    torchtitan.distributed.utils.set_pg_timeouts = lambda **_: None  # not in this torch
    rows = job["micro_batch_tokens"] // job["sequence_tokens"]
    config = llama3_debugmodel()
    config.model_spec = dataclasses.replace(config.model_spec, model=_model(job))
    config.loss.loss_fn.global_vocab_size = job["vocabulary"]
    config.training.local_batch_size = rows
    config.training.global_batch_size = job["batch_tokens"] // job["sequence_tokens"]
    config.training.seq_len = job["sequence_tokens"]
    config.training.steps = job["steps"]
    config.training.disable_cuda_graphs = True
    config.training.mixed_precision_param = "bfloat16" if job["precision"] == "bf16" else "float32"
    config.activation_checkpoint = None
    config.compile.enable = is_compiled
    config.dataloader = SimpleNamespace(build=lambda **_: _Batches(ids, rows))
    config.tokenizer = SimpleNamespace(build=lambda **_: None)
    config.debug.enable_structured_logging = False

    class Timed(Trainer):
        def train_step(self, data: Any) -> None:
            begin()
            super().train_step(data)
            end()

    with tempfile.TemporaryDirectory() as config.dump_folder:
        Timed(config).train()
