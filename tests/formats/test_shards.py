"""Token shards keep every document and refuse damaged files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tongwen.errors import InputError
from tongwen.formats.languages import LANGUAGES
from tongwen.formats.shards import Shard, shard_writer

DIGEST = "0123456789abcdef0123456789abcdef"


def write(path: Path, documents: list[list[int]], vocabulary_size: int = 64_000) -> None:
    with shard_writer(path, vocabulary_size=vocabulary_size, tokenizer_digest=DIGEST) as writer:
        for number, ids in enumerate(documents):
            writer.append(ids, language=LANGUAGES[number % 5], utf8_bytes=3 * number)


@settings(max_examples=30, deadline=None)
@given(
    documents=st.lists(st.lists(st.integers(0, 63_999), max_size=20), max_size=12),
    vocabulary_size=st.sampled_from([64_000, 65_536, 65_537, 200_000]),
)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, documents: list[list[int]], vocabulary_size: int
) -> None:
    path = tmp_path_factory.mktemp("shard") / "train-00000.shard"
    write(path, documents, vocabulary_size)
    shard = Shard.open(path, tokenizer_digest=DIGEST)
    assert [shard.document(number).tolist() for number in range(shard.documents)] == documents
    assert shard.tokens.dtype == (np.uint16 if vocabulary_size <= 65_536 else np.uint32)
    assert shard.vocabulary_size == vocabulary_size
    assert shard.utf8_bytes.tolist() == [3 * number for number in range(len(documents))]
    assert [shard.language(n) for n in range(shard.documents)] == [
        LANGUAGES[n % 5] for n in range(len(documents))
    ]
    shard.check_content()


def test_the_layout_on_disk_is_what_the_module_says(tmp_path: Path) -> None:
    path = tmp_path / "a.shard"
    write(path, [[1, 2, 258]])
    data = path.read_bytes()
    assert data[:8] == b"TONGWEN\0"
    assert data[128:136] == bytes([1, 0, 2, 0, 2, 1, 0, 0])
    assert len(data) == 128 + 8 + 17


def test_a_language_it_does_not_know_is_called_other(tmp_path: Path) -> None:
    path = tmp_path / "a.shard"
    with shard_writer(path, vocabulary_size=9, tokenizer_digest=DIGEST) as writer:
        writer.append([1], language="fr", utf8_bytes=1)
    assert Shard.open(path).language(0) == "other"


def test_another_tokenizers_shard_is_refused_with_both_digests(tmp_path: Path) -> None:
    path = tmp_path / "a.shard"
    write(path, [[1]])
    with pytest.raises(InputError) as caught:
        Shard.open(path, tokenizer_digest="f" * 32)
    assert DIGEST in caught.value.message
    assert "f" * 32 in caught.value.message


@pytest.mark.parametrize("keep_bytes", [0, 7, 8, 127, 128, 140, -1])
def test_a_cut_off_shard_is_refused_wherever_it_ends(tmp_path: Path, keep_bytes: int) -> None:
    path = tmp_path / "a.shard"
    write(path, [[1, 2, 3], [4]])
    path.write_bytes(path.read_bytes()[:keep_bytes])
    with pytest.raises(InputError, match=r"a\.shard"):
        Shard.open(path)


def test_a_missing_file_and_another_kind_of_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        Shard.open(tmp_path / "none.shard")
    (tmp_path / "b.shard").write_bytes(b"PAR1" * 100)
    with pytest.raises(InputError, match="not a token shard"):
        Shard.open(tmp_path / "b.shard")


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.shard"
    write(path, [[1, 2, 3], [4]])
    data = bytearray(path.read_bytes())
    data[130] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        Shard.open(path).check_content()


def test_an_error_while_writing_leaves_no_file(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        shard_writer(tmp_path / "a.shard", vocabulary_size=9, tokenizer_digest=DIGEST),
    ):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
