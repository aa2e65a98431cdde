"""The head's gradient in full and from samples, at equal tokens and at equal time, several seeds.

    python bench/head_gradient.py SHARDS TOKENIZER [--tokens N] [--adamw-rate R] [--record]

The same training runs, but for `head_gradient_samples`; compared as `bench/optimizers.py` does,
with the same options.
"""

from optimizers import Schedule, run

SCHEDULES = (
    Schedule("in full", "adamw", "cosine"),
    *(
        Schedule(
            f"{samples} samples", "adamw", "cosine", (f"pretrain.head_gradient_samples={samples}",)
        )
        for samples in (256, 64)
    ),
)

if __name__ == "__main__":
    run(
        "## The head's gradient, `python bench/head_gradient.py SHARDS TOKENIZER --record`",
        "head-gradient",
        SCHEDULES,
        __doc__,
    )
