"""The map task of the encode stage: one Parquet file of documents to one shard a split."""

from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack

from tongwen.encode.split import split_of
from tongwen.flow.task import TaskContext
from tongwen.formats.documents import document_batches
from tongwen.formats.shards import ShardWriter, shard_writer
from tongwen.tokenizer.special import EOS
from tongwen.tokenizer.text import Tokenizer


def encode_file(context: TaskContext) -> Mapping[str, int]:
    """Encode the documents of `inputs[0]` with the tokenizer `inputs[1]`, each into its split.

    Every document ends with `<|endoftext|>`; markers inside a text stay text.
    """
    documents, model = context.inputs
    tokenizer = Tokenizer.load(model)
    end = tokenizer.special_ids[EOS]
    thresholds = context.params["validation_thresholds"]
    counts: Counter[str] = Counter()
    writers: dict[str, ShardWriter] = {}
    with ExitStack() as stack:
        for batch in document_batches(documents, ["doc_id", "lang", "text"], batch_rows=256):
            for row in batch.to_pylist():
                counts["documents_in"] += 1
                if row["doc_id"] in context.skip:
                    counts["documents_quarantined"] += 1
                    continue
                context.mark(row["doc_id"])
                split = split_of(row["doc_id"], row["lang"], thresholds)
                if split not in writers:
                    writers[split] = stack.enter_context(
                        shard_writer(
                            context.out / f"{split}.shard",
                            vocabulary_size=tokenizer.vocabulary_size,
                            tokenizer_digest=tokenizer.digest,
                        )
                    )
                writers[split].append(
                    [*tokenizer.encode(row["text"]), end],
                    language=row["lang"],
                    utf8_bytes=len(row["text"].encode("utf-8")),
                )
    return counts
