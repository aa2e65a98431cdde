"""Model folders as Hugging Face lays them out: a `LlamaForCausalLM`, or another of the families
that can be read, with its tokenizer beside.
"""

import errno
import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tongwen.errors import InputError
from tongwen.files import disk_errors, read_json, remove_tree, sync_directory, write_json
from tongwen.model.config import ModelConfig
from tongwen.model.llama import Llama
from tongwen.tokenizer import special
from tongwen.tokenizer.folder import GENERATION_FILE, copy_tokenizer, has_tokenizer, json_object

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
_IGNORED = ".rotary_emb.inv_freq"
"""RoPE's frequencies, which Llama 1 and 2 folders of 2023 hold and which follow from the base."""


def save_model_folder(
    path: Path,
    model: Llama,
    tokenizer_folder: Path,
    dtype: torch.dtype = torch.bfloat16,
    file_bytes: int = 5_000_000_000,
) -> None:
    """Write `model` and the tokenizer's files to `path`, whole or not at all.

    The same weights give the same bytes. What stood at `path` before is replaced. Weights beyond
    `file_bytes` go to several files with an index, as Hugging Face's own.

    Raises:
        InputError: `tokenizer_folder` holds no tokenizer.
        DiskFullError: no space is left; what stood at `path` stays.
    """
    state = model.state_dict()
    write_model_folder(
        path,
        model.config,
        lambda names: {name: state[name] for name in names},
        tokenizer_folder,
        dtype,
        file_bytes,
    )


def write_model_folder(
    path: Path,
    config: ModelConfig,
    read: Callable[[Sequence[str]], dict[str, Tensor]],
    tokenizer_folder: Path,
    dtype: torch.dtype = torch.bfloat16,
    file_bytes: int = 5_000_000_000,
) -> None:
    """As `save_model_folder`, for weights that `read` gives by name, one file's at a time."""
    _require_tokenizer(tokenizer_folder)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        with disk_errors(path):
            partial.mkdir(parents=True)
            write_json(partial / "config.json", _config_values(config, dtype))
            write_json(partial / GENERATION_FILE, _generation_values(config, tokenizer_folder))
            _write_weights(partial, config, read, dtype, file_bytes)
            copy_tokenizer(tokenizer_folder, partial)
            for file in partial.iterdir():
                file.chmod(0o644)  # safetensors lets nobody else read
                _sync_file(file)
            partial.chmod(0o755)
            remove_tree(path)
            partial.rename(path)
            sync_directory(path.parent)
    finally:
        remove_tree(partial)


def _config_values(config: ModelConfig, dtype: torch.dtype) -> dict[str, Any]:
    """Content of `config.json`; a foreign one keeps the ids and keys that it came with."""
    values = config.to_huggingface()
    if not config.read_from:
        values |= {
            "bos_token_id": special.BOS_ID,
            "eos_token_id": list(special.STOP_IDS),
            "pad_token_id": special.PAD_ID,
        }
    key = "dtype" if "dtype" in values else "torch_dtype"
    return values | {key: str(dtype).removeprefix("torch.")}


def _generation_values(config: ModelConfig, tokenizer_folder: Path) -> dict[str, Any]:
    """Content of `generation_config.json`: for a foreign model what came with its tokenizer."""
    if not config.read_from:
        return special.generation_config()
    values = json_object(tokenizer_folder / GENERATION_FILE)
    ids = {key: config.to_huggingface().get(key)
           for key in ("bos_token_id", "eos_token_id", "pad_token_id")}  # fmt: skip
    return values or {key: value for key, value in ids.items() if value is not None}


def load_model_folder(
    path: Path, dtype: torch.dtype | None = None, device: torch.device | str = "cpu"
) -> tuple[Llama, ModelConfig]:
    """The model of a Hugging Face folder, ready to run, and its configuration.

    Args:
        path: folder with `config.json`, safetensors weights and a tokenizer.
        dtype: of the weights; as stored when absent.
        device: where the weights go.

    Raises:
        InputError: the folder, its configuration, its tokenizer or a tensor is missing, a tensor
            has another shape than the configuration says or holds NaN, or the tokenizer has more
            pieces than the model.
    """
    config = read_config(path)
    _check_vocabulary(path, config)
    with torch.device("meta"):
        model = Llama(config)
    tensors = dict(stream_weights(path, config, dtype, device))
    if config.tie_word_embeddings:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    model.load_state_dict(tensors, assign=True)
    if config.tie_word_embeddings:
        model.lm_head.weight = model.model.embed_tokens.weight
    return model, config


def stream_weights(
    path: Path,
    config: ModelConfig,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of every parameter in a model folder; only one is held at a time.

    Names and shapes are compared with what `config` needs before the first is read.

    Raises:
        InputError: a file or tensor is missing, unknown or damaged, or has another shape; one holds
            NaN or infinity; or the model is said to tie its head, and the head is another matrix.
    """
    files = _weight_files(path)
    _check_tensors(config, _shapes(path, files), path)
    embedding: Tensor | None = None
    head: Tensor | None = None
    for file in files:
        with _opened(path, file, device) as handle:
            for name in handle.keys():  # noqa: SIM118 - not a dictionary
                if name.endswith(_IGNORED):
                    continue
                tensor = handle.get_tensor(name)
                _check_values(path, name, tensor)
                if config.tie_word_embeddings and name == _HEAD:
                    head = tensor
                    continue
                if name == _EMBEDDING:
                    embedding = tensor
                yield name, tensor.to(dtype)
    if head is not None and embedding is not None and not torch.equal(head, embedding):
        raise InputError(
            f"{path}: config.json says that lm_head.weight is model.embed_tokens.weight "
            "(tie_word_embeddings), but the weights hold two different matrices",
            hint="set tie_word_embeddings to false in its config.json",
        )


def read_weights(
    path: Path, names: Sequence[str], dtype: torch.dtype | None = None
) -> dict[str, Tensor]:
    """Some weights of a model folder by name, on the CPU.

    Raises:
        InputError: a file or tensor is missing or damaged.
    """
    wanted, tensors = set(names), {}
    for file in _weight_files(path):
        with _opened(path, file) as handle:
            for name in wanted.intersection(handle.keys()):
                tensors[name] = handle.get_tensor(name).to(dtype)
    if missing := sorted(wanted - tensors.keys()):
        raise InputError(f"{path} lacks {len(missing)} tensors, the first is {missing[0]}")
    return tensors


def _check_values(path: Path, name: str, tensor: Tensor) -> None:
    if not tensor.is_floating_point() or tensor.element_size() < 2:
        raise InputError(
            f"{path}: {name} is of type {str(tensor.dtype).removeprefix('torch.')}",
            hint="give the folder with plain weights: bfloat16, float16 or float32",
        )
    # A sum is as fast as memory; what it loses to overflow is looked at one by one.
    if tensor.sum(dtype=torch.float32).isfinite() or tensor.isfinite().all():
        return
    wrong = int((~tensor.isfinite()).sum())
    raise InputError(
        f"{path}: {name} holds {wrong:,} values that are NaN or infinite",
        hint="its weights are damaged: copy the folder again, or take an earlier checkpoint",
    )


def read_config(path: Path) -> ModelConfig:
    """The configuration of a model folder.

    Raises:
        InputError: the folder or its `config.json` is not there, or it asks for what the model
            here does not compute.
    """
    if not path.is_dir():
        raise InputError(f"there is no model folder {path}", hint="run `tongwen pretrain` first")
    source = path / "config.json"
    try:
        values = read_json(source)
    except FileNotFoundError as error:
        raise InputError(f"{path} has no config.json", hint="is it a model folder?") from error
    except ValueError as error:
        raise InputError(f"{source} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{source} holds no JSON object", hint="copy it again")
    if quantization := values.get("quantization_config"):
        method = quantization.get("quant_method") if isinstance(quantization, dict) else None
        raise InputError(
            f"{source}: quantization_config.quant_method is {method!r} (model_type "
            f"{values.get('model_type')!r}), which cannot be read here",
            hint="give the folder with plain weights, and quantize it with `tongwen quantize`",
        )
    return ModelConfig.from_huggingface(values, str(source))


def check_folder(path: Path) -> ModelConfig:
    """The configuration of a model folder whose tensors and tokenizer fit it. Reads no weights.

    Raises:
        InputError: as `load_model_folder`, but for what only the values of weights say.
    """
    config = read_config(path)
    _check_vocabulary(path, config)
    _check_tensors(config, _shapes(path, _weight_files(path)), path)
    return config


def tokenizer_pieces(folder: Path) -> int:
    """Number of pieces, added ones included, of the tokenizer in `folder`.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    _require_tokenizer(folder)
    source = folder / "tokenizer.json"
    if not source.is_file():
        import sentencepiece

        processor = sentencepiece.SentencePieceProcessor()
        processor.Load(str(folder / "tokenizer.model"))
        return int(processor.GetPieceSize())
    try:
        values = json.loads(source.read_bytes())
        pieces = values["model"]["vocab"]
        ids = pieces.values() if isinstance(pieces, dict) else range(len(pieces))
        added = (item["id"] for item in values.get("added_tokens", ()))
        return int(1 + max(*ids, *added))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{source} is not a tokenizer: {error}") from error


def _require_tokenizer(folder: Path) -> None:
    if not has_tokenizer(folder):
        raise InputError(
            f"{folder} has no tokenizer (tokenizer.json or tokenizer.model)",
            hint="copy the tokenizer's files there, or run `tongwen tokenizer`",
        )


def _check_vocabulary(path: Path, config: ModelConfig) -> None:
    pieces = tokenizer_pieces(path)
    if pieces > config.vocabulary_size:
        raise InputError(
            f"the tokenizer in {path} has {pieces:,} pieces, "
            f"the model knows {config.vocabulary_size:,}",
            hint="the tokenizer belongs to another model",
        )


def _check_tensors(config: ModelConfig, found: dict[str, tuple[int, ...]], path: Path) -> None:
    with torch.device("meta"):
        model = Llama(config)
    expected = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    found = {name: shape for name, shape in found.items() if not name.endswith(_IGNORED)}
    if config.tie_word_embeddings:
        found.pop(_HEAD, None)
    missing = sorted(expected.keys() - found.keys())
    if missing == [_HEAD]:
        raise InputError(
            f"{path} lacks {_HEAD}, the output head, and its config.json does not say "
            "tie_word_embeddings = true",
            hint="if the model's head is its embedding, set tie_word_embeddings to true",
        )
    if missing:
        raise InputError(f"{path} lacks {len(missing)} tensors, the first is {missing[0]}")
    unknown = sorted(found.keys() - expected.keys())
    if unknown:
        raise InputError(f"{path} has {len(unknown)} unknown tensors, the first is {unknown[0]}")
    for name, shape in expected.items():
        if found[name] != shape:
            raise InputError(
                f"{path}: {name} has shape {found[name]}, expected {shape}",
                hint="config.json and the weights belong to different models",
            )


def _write_weights(
    folder: Path,
    config: ModelConfig,
    read: Callable[[Sequence[str]], dict[str, Tensor]],
    dtype: torch.dtype,
    file_bytes: int,
) -> None:
    """The weights in files of at most about `file_bytes`; only one file's are held converted."""
    with torch.device("meta"):
        sizes = {name: tensor.numel() for name, tensor in Llama(config).named_parameters()}
    groups: list[list[str]] = [[]]
    filled = 0
    for name, numbers in sizes.items():
        size = numbers * dtype.itemsize
        if groups[-1] and filled + size > file_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size
    if len(groups) == 1:
        _write_file(folder / WEIGHTS, read(groups[0]), dtype)
        return
    places: dict[str, str] = {}
    for number, names in enumerate(groups, 1):
        file = f"model-{number:05d}-of-{len(groups):05d}.safetensors"
        _write_file(folder / file, read(names), dtype)
        places |= dict.fromkeys(names, file)
    total = sum(sizes.values()) * dtype.itemsize
    write_json(folder / WEIGHTS_INDEX, {"metadata": {"total_size": total}, "weight_map": places})


def _write_file(path: Path, state: dict[str, Tensor], dtype: torch.dtype) -> None:
    tensors = {name: item.detach().to("cpu", dtype).contiguous() for name, item in state.items()}
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:
        for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            if f"os error {code})" in str(error):
                raise OSError(code, os.strerror(code), str(path)) from error
        raise


def _shapes(path: Path, files: Sequence[Path]) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for file in files:
        with _opened(path, file) as handle:
            for name in handle.keys():  # noqa: SIM118 - not a dictionary
                shapes[name] = tuple(handle.get_slice(name).get_shape())
    return shapes


@contextmanager
def _opened(path: Path, file: Path, device: torch.device | str = "cpu") -> Iterator[Any]:
    try:
        with safe_open(file, framework="pt", device=str(device)) as handle:
            yield handle
    except FileNotFoundError as error:
        raise InputError(f"{path} lacks {file.name}") from error
    except (SafetensorError, OSError) as error:
        raise InputError(f"cannot read {file}: {error}", hint="is the file whole?") from error


def _weight_files(path: Path) -> list[Path]:
    index = path / WEIGHTS_INDEX
    if not index.is_file():
        if not (path / WEIGHTS).is_file() and any(path.glob("*.bin")):
            raise InputError(
                f"{path} lacks {WEIGHTS}: it has pickled weights only (*.bin)",
                hint="save it as safetensors with transformers: model.save_pretrained(FOLDER)",
            )
        return [path / WEIGHTS]
    try:
        values: dict[str, Any] = read_json(index)
        return sorted({path / name for name in values["weight_map"].values()})
    except (ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{index} is not an index of weights: {error}") from error


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
