"""Token shards of the encode stage as training and validation data."""

from dataclasses import dataclass
from pathlib import Path

from tongwen.errors import InputError
from tongwen.formats.shards import Shard
from tongwen.tokenizer.text import Tokenizer
from tongwen.train.data.mixture import Mixture
from tongwen.train.data.sequences import Documents, PackedSequences
from tongwen.train.data.validation import ValidationSet
from tongwen.train.settings import TextSettings, TrainSettings


@dataclass(frozen=True)
class ShardData:
    """An opened encode folder.

    Attributes:
        training: all documents of the `train-*` shards.
        validation: language -> documents of its `valid-LANGUAGE-*` shards.
        vocabulary_size: of the tokenizer that made the ids.
        tokenizer_digest: of that tokenizer.
    """

    training: Documents
    validation: dict[str, Documents]
    vocabulary_size: int
    tokenizer_digest: str

    @classmethod
    def open(cls, shards_folder: Path, tokenizer_folder: Path) -> "ShardData":
        """The shards of `shards_folder`, made with the tokenizer in `tokenizer_folder`.

        Raises:
            InputError: there are none, one is damaged, or another tokenizer made them.
        """
        tokenizer = Tokenizer.load(tokenizer_folder)
        by_split: dict[str, list[Shard]] = {}
        for path in sorted(shards_folder.glob("*.shard")):
            shard = Shard.open(path, tokenizer_digest=tokenizer.digest)
            if shard.documents:
                by_split.setdefault(path.stem.rpartition("-")[0], []).append(shard)
        if "train" not in by_split:
            raise InputError(
                f"no training shard (train-*.shard) with a document in {shards_folder}",
                hint="run `tongwen encode` first",
            )
        return cls(
            training=Documents.from_shards(by_split["train"]),
            validation={
                split.removeprefix("valid-"): Documents.from_shards(shards)
                for split, shards in by_split.items()
                if split.startswith("valid-")
            },
            vocabulary_size=tokenizer.vocabulary_size,
            tokenizer_digest=tokenizer.digest,
        )

    def training_sequences(
        self, settings: TextSettings, *, position_reach: int | None = None
    ) -> PackedSequences:
        """The training documents as `settings` want them packed, mixed and ordered.

        `position_reach` is `PackedSequences`'s.

        Raises:
            RecipeError: the mixture has a language that no document has.
        """
        return PackedSequences(
            self.training,
            settings.sequence_tokens,
            seed=settings.seed,
            separate_documents=settings.separate_documents,
            mixture=Mixture.of(settings),
            position_reach=position_reach,
        )

    def validation_sets(self, settings: TrainSettings) -> dict[str, ValidationSet]:
        """Documents of the validation shards, never seeing each other, by language."""
        return {
            language: ValidationSet.of(
                documents, settings.sequence_tokens, max_tokens=settings.validation_tokens
            )
            for language, documents in self.validation.items()
        }
