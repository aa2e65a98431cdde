"""What tuning by adapters takes on one card, and what at all fits on a device."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, get_args

from tongwen.errors import DoesNotFitError
from tongwen.model.config import ModelConfig
from tongwen.model.flops import flops_per_token
from tongwen.plan.adapters import QUANTIZED_BITS, Method, adapter_memory, adapter_parameters
from tongwen.plan.devices import Device, efficiency
from tongwen.plan.formulas import Memory, training_memory
from tongwen.plan.layout import MEMORY_SLACK, PROCESS_BYTES
from tongwen.plan.question import Question
from tongwen.train.settings import TrainSettings

_METHODS: tuple[Method, ...] = get_args(Method)
_OUR_INT4 = (
    f"`tongwen tune` holds an int4 weight in 4.5 bits, these figures count {QUANTIZED_BITS:.2f}, "
    "as QLoRA with double quantization has it"
)


def tuning_answer(question: Question) -> dict[str, Any]:
    """The largest micro-batch with the least work that fits, its memory, and the time of a token.

    Raises:
        DoesNotFitError: not even one sequence fits, with a way that would.
    """
    config, device = question.shape, question.device
    assert config is not None
    sequence = question.sequence_tokens or min(4_096, config.max_position_embeddings)
    found = _largest(config, question.method, question.rank, device, sequence)
    if found is None:
        raise _refusal(config, question, sequence)
    settings, memory = found
    share = efficiency(device, config.parameters, question.measured)
    speed = device.peak_flops * (question.mfu or share.mfu)
    flops = flops_per_token(config, sequence).full
    # Forward, and backward to the activations: the frozen weights need no gradient of their own.
    work = flops * 2 / 3 + (flops / 3 if settings.recompute == "layer" else 0.0)
    seconds = None if question.tokens is None else question.tokens * work / speed
    price = None
    if seconds is not None and question.price is not None:
        price = seconds / 3_600 * question.price
    return {
        "gpus": 1,
        "device": asdict(device),
        "method": question.method,
        "rank": question.rank,
        "model": {**asdict(config), "parameters": config.parameters},
        "adapter_parameters": adapter_parameters(config, question.rank),
        "sequence_tokens": sequence,
        "sequences_per_micro_batch": settings.sequences_per_micro_batch,
        "recompute": settings.recompute,
        "memory": asdict(memory),
        "memory_bytes": memory.total,
        "tokens_per_second": speed / work,
        "tokens": question.tokens,
        "seconds": seconds,
        "price": price,
        "efficiency": {"mfu": question.mfu or share.mfu, "basis": share.basis},
        "notes": [_OUR_INT4] if question.method == "qlora" else [],
    }


def _largest(
    config: ModelConfig, method: Method, rank: int, device: Device, sequence_tokens: int
) -> tuple[TrainSettings, Memory] | None:
    """The most sequences at once without computing anything twice, else with."""
    for recompute in ("none", "cheap", "layer"):
        for rows in (16, 8, 4, 2, 1):
            settings = _settings(sequence_tokens, rows, recompute)
            memory = memory_of(config, settings, method, rank, device)
            if memory.total * (1 + MEMORY_SLACK) <= device.memory_bytes:
                return settings, memory
    return None


def _settings(sequence_tokens: int, rows: int, recompute: str) -> TrainSettings:
    tokens = rows * sequence_tokens
    plain = TrainSettings(max_tokens=tokens, sequence_tokens=sequence_tokens, batch_tokens=tokens)
    return replace(plain, recompute=recompute)  # type: ignore[arg-type]


def memory_of(
    config: ModelConfig, settings: TrainSettings, method: Method, rank: int, device: Device
) -> Memory:
    """Of one card, by any method."""
    if method != "full":
        return adapter_memory(config, settings, method, rank, device)
    return training_memory(
        config,
        settings,
        bf16=device.uses_bf16,
        on_cpu=device.is_cpu,
        process_bytes=PROCESS_BYTES,
    )


def _refusal(config: ModelConfig, question: Question, sequence: int) -> DoesNotFitError:
    device = question.device
    least = memory_of(
        config, _settings(sequence, 1, "layer"), question.method, question.rank, device
    )
    room = device.memory_gib / (1 + MEMORY_SLACK)
    hint = "a smaller model or a larger card"
    for method in ("lora", "qlora"):
        if method != question.method and _largest(config, method, question.rank, device, sequence):
            hint = f"--method {method}"
            break
    else:
        shorter = sequence // 2
        while shorter >= 128:
            if _largest(config, question.method, question.rank, device, shorter):
                hint = f"--sequence-tokens {shorter}"
                break
            shorter //= 2
    return DoesNotFitError(
        f"{question.method} of {config.parameters / 1e9:.3g}B needs {least.total / 2**30:,.1f} GiB "
        f"with one sequence of {sequence:,} tokens and recompute = layer; {device.name} has "
        f"{room:,.1f} GiB that can be used",
        hint=hint,
    )


def fitting(
    shapes: Mapping[str, ModelConfig], device: Device, sequence_tokens: int, rank: int
) -> Iterator[dict[str, Any]]:
    """For each shape what training, tuning and answering need on one card, in bytes, and whether
    that is there. One sequence at a time, layers computed again, answers with a full window.
    """
    room = device.memory_bytes / (1 + MEMORY_SLACK)
    for name, config in shapes.items():
        sequence = min(sequence_tokens, config.max_position_embeddings)
        settings = _settings(sequence, 1, "layer")
        needed: dict[str, int] = {
            method: memory_of(config, settings, method, rank, device).total for method in _METHODS
        }
        needed |= {
            "answer": answering_bytes(config, sequence, int8=False),
            "answer_int8": answering_bytes(config, sequence, int8=True),
        }
        yield {
            "shape": name,
            "parameters": config.parameters,
            "sequence_tokens": sequence,
            "memory_bytes": needed,
            "fits": {key: value <= room for key, value in needed.items()},
        }


def answering_bytes(config: ModelConfig, window_tokens: int, *, int8: bool) -> int:
    """Weights, keys and values of one dialogue of a full window in bfloat16, and the process.

    With int8 the layers' matrices take a byte each and a float32 scale for each row of outputs;
    embedding, head and norms stay bfloat16.
    """
    in_layers = config.num_hidden_layers * (config.parameters_per_layer - 2 * config.hidden_size)
    weights = 2 * config.parameters
    if int8:
        query = config.num_attention_heads * config.head_dim
        key_value = config.num_key_value_heads * config.head_dim
        rows = query + 2 * key_value + 2 * config.hidden_size + 2 * config.intermediate_size
        weights += 4 * config.num_hidden_layers * rows - in_layers
    key_value = 2 * 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    return weights + key_value * window_tokens + PROCESS_BYTES
