"""Keys and values of prompts that were read, kept in blocks for prompts that begin the same.

A block has the keys and values of a fixed number of tokens. Its name is a hash of the tokens and of
the name of the block before it, so that equal names mean equal text from the first token on (as in
Kwon et al. 2023, arXiv:2309.06180, section 4.4, and vLLM's prefix caching). Prompts have to be read
in pieces of that size: a matrix product may round differently for another number of rows, and
this way a block has the bits that reading the prompt again would give.
"""

import hashlib
import json
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tongwen.errors import InputError
from tongwen.files import disk_errors
from tongwen.model.llama import KeyValueCache

_ROOT = b""
_NAME_BYTES = 16  # 128 bits: 2⁶⁴ tries for two texts with one name
_METADATA = "tongwen_prefixes"


@dataclass
class _Block:
    """Keys and values of some tokens after those of its parent.

    Attributes:
        parent: name of the block before it; empty for the first.
        tensors: as `KeyValueCache.tensors` of one row, without the row's dimension.
        references: blocks that continue it, and prompts that are being stored through it.
    """

    parent: bytes
    tensors: list[Tensor]
    references: int = 0

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(tensor.nbytes for tensor in self.tensors)


class PrefixCache:
    """Blocks of prompts, the least recently used given up first when the budget is reached.

    Args:
        budget_bytes: of all blocks together.
        block_tokens: tokens of a block; prompts have to be read in pieces of as many.
    """

    def __init__(self, budget_bytes: int, block_tokens: int) -> None:
        self.block_tokens = block_tokens
        self.size = 0
        """Bytes held."""
        self._budget_bytes = budget_bytes
        self._blocks: OrderedDict[bytes, _Block] = OrderedDict()
        """From the least recently used; a block is older than the one before it in its text."""

    def __len__(self) -> int:
        return len(self._blocks)

    @property
    def tokens(self) -> int:
        """Tokens held."""
        return len(self._blocks) * self.block_tokens

    def restore(self, ids: Sequence[int], cache: KeyValueCache) -> int:
        """Copy what is known of a prompt into its cache, of one row.

        At least the last token is left to be read: its logits are what follows.

        Returns:
            How many of the first tokens are there now, a multiple of `block_tokens`.
        """
        known: list[bytes] = []
        for name in self._names(ids[: len(ids) - 1]):
            if name not in self._blocks:
                break
            known.append(name)
        targets = cache.tensors()
        for number, name in enumerate(known):
            start = number * self.block_tokens
            for target, source in zip(targets, self._blocks[name].tensors, strict=True):
                target[0, start : start + self.block_tokens] = source
        self._touch(known)
        return len(known) * self.block_tokens

    def keep(self, ids: Sequence[int], cache: KeyValueCache) -> None:
        """Keep the whole blocks of tokens that have been read into a cache of one row.

        Of a text beyond the budget its beginning is kept.
        """
        parent, held = _ROOT, []
        for number, name in enumerate(self._names(ids)):
            block = self._blocks.get(name)
            if block is None:
                start = number * self.block_tokens
                places = slice(start, start + self.block_tokens)
                block = _Block(parent, [tensor[0, places].clone() for tensor in cache.tensors()])
                if not self._make_room(block.size):
                    break
                self._add(name, block)
            block.references += 1
            held.append(name)
            parent = name
        for name in held:
            self._blocks[name].references -= 1
        self._touch(held)

    def save(self, path: Path, identity: Mapping[str, str]) -> None:
        """Write all blocks to a file that the owner alone can read.

        Args:
            path: replaced when it is there.
            identity: what the blocks are valid for: model, dtypes and so on.

        Raises:
            DiskFullError: no space is left.
        """
        names = list(reversed(self._blocks))  # a block comes after its parent
        places = {name: place for place, name in enumerate(names)} | {_ROOT: -1}
        parents = [places[self._blocks[name].parent] for name in names]
        tensors = {
            "names": torch.tensor([list(name) for name in names], dtype=torch.uint8),
            "parents": torch.tensor(parents, dtype=torch.int64),
        }
        for place, name in enumerate(names):
            for number, tensor in enumerate(self._blocks[name].tensors):
                tensors[f"{place}.{number}"] = tensor.cpu()
        metadata = {_METADATA: json.dumps(self._identity(identity))}
        partial = path.with_name(f".{path.name}.partial")
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.touch(0o600)
            save_file(tensors, partial, metadata=metadata)
            partial.chmod(0o600)  # it holds what people asked
            partial.replace(path)

    def load(self, path: Path, identity: Mapping[str, str], like: KeyValueCache) -> None:
        """Take the blocks of a file, the most recently used first while the budget lasts.

        Args:
            path: written by `save`.
            identity: has to be the one that was saved.
            like: a cache of the model that the blocks are for.

        Raises:
            InputError: the file is damaged, or of another model, dtype or kind of cache.
        """
        again = "delete it, or name another file in serve.prefix_cache_file"
        try:
            with safe_open(path, framework="pt", device=str(like.rows_B1.device)) as file:
                saved = json.loads((file.metadata() or {})[_METADATA])
                self._check_identity(path, saved, self._identity(identity))
                names = [bytes(row) for row in file.get_tensor("names").tolist()]
                parents = file.get_tensor("parents").tolist()
                for place, (name, parent) in enumerate(zip(names, parents, strict=True)):
                    before = names[parent] if parent >= 0 else _ROOT
                    tensors = [file.get_tensor(f"{place}.{n}") for n in range(len(like.tensors()))]
                    self._check_shapes(tensors, like)
                    block = _Block(before, tensors)
                    if self.size + block.size > self._budget_bytes:
                        break
                    self._add(name, block)
        except InputError:
            raise
        except (SafetensorError, OSError, KeyError, ValueError, IndexError) as error:
            raise InputError(
                f"cannot read the saved prefixes in {path}: {error}", hint=again
            ) from (error)
        self._blocks = OrderedDict(reversed(self._blocks.items()))

    def _identity(self, identity: Mapping[str, str]) -> dict[str, str]:
        return {**identity, "block_tokens": str(self.block_tokens)}

    @staticmethod
    def _check_identity(path: Path, saved: object, wanted: Mapping[str, str]) -> None:
        if not isinstance(saved, dict):
            raise ValueError("its description is no object")
        for key, value in wanted.items():
            if saved.get(key) != value:
                raise InputError(
                    f"{path} has prefixes of another setting: {key} is {saved.get(key)!r} there "
                    f"and {value!r} here",
                    hint="name another file in serve.prefix_cache_file, or delete this one",
                )

    def _check_shapes(self, tensors: Sequence[Tensor], like: KeyValueCache) -> None:
        for tensor, model in zip(tensors, like.tensors(), strict=True):
            expected = (self.block_tokens, *model.shape[2:])
            if tensor.shape != expected or tensor.dtype != model.dtype:
                raise ValueError(f"a block is {tuple(tensor.shape)}, expected {expected}")

    def _names(self, ids: Sequence[int]) -> Iterator[bytes]:
        """Names of the whole blocks of a text. No client can choose two texts with one name."""
        name = _ROOT
        for end in range(self.block_tokens, len(ids) + 1, self.block_tokens):
            tokens = array("q", ids[end - self.block_tokens : end]).tobytes()
            name = hashlib.blake2b(name + tokens, digest_size=_NAME_BYTES).digest()
            yield name

    def _touch(self, names: Sequence[bytes]) -> None:
        """Make the blocks of a text the most recently used, its first the most of all."""
        for name in reversed(names):
            self._blocks.move_to_end(name)

    def _add(self, name: bytes, block: _Block) -> None:
        self._blocks[name] = block
        self.size += block.size
        if block.parent:
            self._blocks[block.parent].references += 1

    def _make_room(self, needed_bytes: int) -> bool:
        """Give up blocks that nothing refers to until there is room; whether there is."""
        while self.size + needed_bytes > self._budget_bytes:
            unused = (name for name, block in self._blocks.items() if not block.references)
            oldest = next(unused, None)
            if oldest is None:
                return False
            block = self._blocks.pop(oldest)
            self.size -= block.size
            if block.parent:
                self._blocks[block.parent].references -= 1
        return True
