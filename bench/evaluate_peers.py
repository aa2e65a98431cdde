"""Runs in the peer's own environment: score choices with lm-eval, Hugging Face backend.

    python evaluate_peers.py REQUESTS.json RESULT.json

`bench/evaluate.py` calls it. Imports nothing of ours.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    torch.set_num_threads(1)
    harness = HFLM(
        pretrained=job["folder"], device="cpu", dtype="float32", batch_size=job["batch_size"]
    )
    tokens = 0
    forward = harness.model.forward

    def counted(ids: Any, *rest: Any, **options: Any) -> Any:
        nonlocal tokens
        tokens += ids.numel()
        return forward(ids, *rest, **options)

    harness.model.forward = counted
    found = []
    for requests in job["tasks"]:
        instances = [
            Instance(request_type="loglikelihood", doc={}, arguments=tuple(pair), idx=number)
            for number, pair in enumerate(requests)
        ]
        tokens, started = 0, time.process_time()
        scores = harness.loglikelihood(instances, disable_tqdm=True)
        found.append(
            {
                "seconds": time.process_time() - started,
                "tokens": tokens,
                "log_probabilities": [value for value, _ in scores],
            }
        )
    Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
