"""Kill training in steps and in saves, resume on other numbers of processes, and compare.

    python bench/kill_training.py [--kills 24] [--processes 1 2 4] [--seed 0]

A small model on random documents. Every second kill falls while a checkpoint is being written, the
others at a random step; each time all processes are killed, or one of them and the rest when
they notice. The run goes on with another number of processes, drawn at random. In the end every
step must have taken exactly the tokens that an undisturbed run of one process took; the losses may
differ by rounding, and by how much is printed.
"""

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve()
STEPS = 240


def work(out: Path) -> None:
    """Train in this process, one of those that the environment tells of."""
    import numpy

    from tongwen.flow.group import world_size
    from tongwen.model.config import ModelConfig
    from tongwen.progress import Progress
    from tongwen.train.data.sequences import Documents, PackedSequences
    from tongwen.train.job import Job
    from tongwen.train.loop import train
    from tongwen.train.parallel.settings import ParallelSettings
    from tongwen.train.settings import TrainSettings
    from tongwen.train.weights import InitialWeights

    config = ModelConfig(
        hidden_size=256, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=64, max_position_embeddings=64, vocabulary_size=1_024,
    )  # fmt: skip
    kinds = {1: {}, 2: {"shard": 2}, 4: {"shard": 2, "tensor": 2}}
    settings = TrainSettings(
        max_tokens=STEPS * 512, sequence_tokens=64, batch_tokens=512, micro_batch_tokens=128,
        peak_learning_rate=1e-3, checkpoint_every_steps=4, evaluate_every_steps=10**6,
        checkpoint_in_background="yes", device="cpu", precision="fp32",
        parallel=ParallelSettings(**kinds[world_size()]),
    )  # fmt: skip
    generator = numpy.random.default_rng(0)
    tokens = generator.integers(3, 200, 2_000)
    ids = generator.integers(3, config.vocabulary_size, int(tokens.sum())).astype(numpy.uint16)
    documents = Documents((ids,), numpy.cumsum(tokens) - tokens, tokens, None, "random")
    data = PackedSequences(documents, settings.sequence_tokens, seed=1)
    (out / "tokenizer.json").write_text("{}")
    weights = InitialWeights(config, settings)
    train(Job("kill", settings, weights, data, {}, out, out, Progress()))


def start(count: int, out: Path) -> list[subprocess.Popen[bytes]]:
    """So many processes that train together, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    return [
        subprocess.Popen(
            [sys.executable, str(HERE), "--work", str(out)],
            env={
                **os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": port,
                "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1",
                "GLOO_SOCKET_IFNAME": "lo", "GOMP_SPINCOUNT": "1000",
            },
            stderr=subprocess.DEVNULL,
        )
        for rank in range(count)
    ]  # fmt: skip


def steps_written(out: Path) -> int:
    path = out / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def wait_for_a_save(processes: list[subprocess.Popen[bytes]], out: Path) -> bool:
    """Until a checkpoint is being written; False when the run has ended instead."""
    while processes[0].poll() is None:
        if any(out.glob("checkpoints/*/.*.partial")):
            return True
        time.sleep(0.001)
    return False


def wait_for_steps(processes: list[subprocess.Popen[bytes]], out: Path, steps: int) -> bool:
    """Until the metrics have grown by so many lines; False when the run has ended instead."""
    begun = steps_written(out)
    while processes[0].poll() is None:
        # A resumed run takes back what was written beyond its checkpoint.
        begun = min(begun, steps_written(out))
        if steps_written(out) >= begun + steps:
            return True
        time.sleep(0.002)
    return False


def kill(processes: list[subprocess.Popen[bytes]], generator: random.Random) -> None:
    """All at once, or one of them first."""
    victims = processes[:]
    if generator.random() < 0.5:
        victims = [generator.choice(processes)]
        victims[0].send_signal(signal.SIGKILL)
        time.sleep(0.2)
    for process in processes:
        process.kill()
        process.wait()


def courses(out: Path) -> list[tuple[int, int, str, float]]:
    """Step, samples, digest of the tokens, and loss of each step."""
    from tongwen.train.metrics import read_metrics

    return [
        (row["step"], row["samples"], row["batch_digest"], row["loss"])
        for row in read_metrics(out / "metrics.jsonl")
        if row["kind"] == "train"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4], choices=[1, 2, 4])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.work is not None:
        work(options.work)
        return
    generator = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, killed = Path(folder, "undisturbed"), Path(folder, "killed")
        undisturbed.mkdir()
        killed.mkdir()
        for process in start(1, undisturbed):
            assert process.wait() == 0
        done: Counter[str] = Counter()
        count = generator.choice(options.processes)
        for number in range(options.kills):
            processes = start(count, killed)
            in_save = number % 2 == 0
            if not (
                wait_for_a_save(processes, killed)
                if in_save
                else wait_for_steps(processes, killed, generator.randint(1, 12))
            ):
                break
            if in_save:
                time.sleep(generator.uniform(0, 0.05))
            kill(processes, generator)
            done[f"{'save' if in_save else 'step'}, {count} processes"] += 1
            count = generator.choice(options.processes)
            print(f"kill {number + 1}: {steps_written(killed)} steps, then {count}", flush=True)
        for process in start(count, killed):
            assert process.wait() == 0
        expected, found = courses(undisturbed), courses(killed)
        same = [one[:3] for one in expected] == [one[:3] for one in found]
        print(f"kills: {sum(done.values())} ({', '.join(f'{k}: {n}' for k, n in done.items())})")
        print(
            f"steps: {len(found)}, the same samples and tokens in each: {'yes' if same else 'NO'}"
        )
        apart = max(abs(one[3] - other[3]) for one, other in zip(expected, found, strict=True))
        print(f"largest difference of a loss: {apart:.2g} nats")
        sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
