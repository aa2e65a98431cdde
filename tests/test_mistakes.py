"""What people type wrongly: each ends with a sentence and an exit code, none with a traceback."""

import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tongwen.cli.main import main

USAGE, FAILURE = 2, 1

MISTAKES = (  # what is typed, the exit code, what is said about it
    ("run", USAGE, "Missing argument 'RECIPE'"),
    ("runn sample", USAGE, "Did you mean `tongwen run`?"),
    ("--nothing", USAGE, "No such option"),
    ("run sampel", USAGE, "did you mean `sample`?"),
    ("run folder", USAGE, "neither a file nor a preset"),
    ("run unclosed.toml", USAGE, "unclosed.toml, line 1: not valid TOML"),
    ("run typo.toml", USAGE, "did you mean `pretrain`?"),
    ("run gbk.toml", USAGE, "iconv -f GB18030 -t UTF-8"),
    ("run binary.toml", USAGE, "a recipe is UTF-8"),
    ("run itself.toml", USAGE, "laid over itself"),
    ("run sample --set", USAGE, "requires an argument"),
    ("run sample --set pretrain", USAGE, "not of the form section.key=value"),
    ("run sample --set pretrain.max_tokens=many", USAGE, "must be a whole number"),
    ("run sample --set pretrain.max_tokens=-5", USAGE, "use a number greater than 0"),
    ("run sample --set run.name=a/b", USAGE, "use letters, digits"),
    ("run sample --set run.name=", USAGE, "no value after the ="),
    ("run sample --set crawl.nothing=1", USAGE, "known keys: sample, sources"),
    ('run sample --set train.trackers=["wandbb"]', USAGE, "wandb"),
    ("run sample --set pretrain.base=nowhere", FAILURE, "nowhere"),
    ("run sample --set train.sequence_tokens=4096 --dry-run", USAGE, "not a multiple of"),
    ("run sample --until curat", USAGE, "no such stage in this recipe"),
    ("run smallest --runs file --until crawl", FAILURE, "choose another folder"),
    ("run smallest --runs loop --until crawl", FAILURE, "symbolic links"),
    ("crawl", USAGE, "Missing option '--out'"),
    ("crawl nowhere --out o", FAILURE, "holds: "),
    ("crawl folder --out o", FAILURE, "there are no files in"),
    ("crawl texts --out file", FAILURE, "choose another folder"),
    ("crawl texts --out file/below", FAILURE, "choose another folder"),
    ("crawl texts --out o --format pdf", FAILURE, "looked for .pdf"),
    ("crawl texts --out o --format wrd", USAGE, "is not one of"),
    ("crawl texts --out o --first 0", USAGE, "not in the range"),
    ("crawl pipe --out o --format text", FAILURE, "is a pipe, a socket or a device"),
    ("crawl /dev/null --out o", FAILURE, "is a pipe, a socket or a device"),
    ("curate nowhere --out o", FAILURE, "run its stage first"),
    ("curate folder --out o", FAILURE, "make one with `tongwen crawl`"),
    ("curate calibrat folder --out o", USAGE, "tongwen curate calibrate`?"),
    ("tokenizer train nowhere --out o", FAILURE, "run its stage first"),
    ("tokenizer nowhere", USAGE, "No such command"),
    ("encode folder folder --out o", FAILURE, "run `tongwen curate` first"),
    ("plan", USAGE, "name a recipe, or a budget"),
    ("plan sample --gpu abacus", USAGE, "known: a100-40gb"),
    ("plan --gpu h800 --gpus 0", USAGE, "not in the range"),
    ("plan sample --days soon", USAGE, "is not a number such as 100B"),
    ("plan --days 30", USAGE, "add --gpu NAME"),
    ("plan sample --shards folder", FAILURE, "run `tongwen encode` first"),
    ("pretrain folder folder --out o", USAGE, "has no [pretrain] section"),
    ("pretrain folder", USAGE, "Missing argument 'TOKENIZER'"),
    ("tune broken dialogues.jsonl --out o", USAGE, "tune.max_tokens"),
    ("evaluate broken", USAGE, "Missing option '--out'"),
    ("evaluate broken --task nothing=x --out o", USAGE, "no built-in task `nothing`"),
    ("evaluate nowhere --task gsm8k=x --out o", FAILURE, "there is no model folder"),
    ("quantize nowhere --out o", FAILURE, "there is no model folder"),
    ("quantize broken --out o --bits 3", USAGE, "is not one of"),
    ("export broken --out o", FAILURE, "model_type is None"),
    ("serve", USAGE, "Missing argument"),
    ("serve nowhere", FAILURE, "make one with `tongwen run sample`"),
    ("serve broken broken", USAGE, "add --status to follow several runs"),
    ("serve broken --port 99999", USAGE, "ports end at 65535"),
    ("serve begun", FAILURE, "is the run finished?"),
    ("serve texts --status", FAILURE, "is not a run directory"),
    ("serve begun --status --quantized", USAGE, "changes nothing with --status"),
    ("chat broken", FAILURE, "a model folder needs its tokenizer.json"),
    ("complete broken text", FAILURE, "a model folder needs its tokenizer.json"),
    ("complete broken text --temperature 9", USAGE, "not in the range"),
    ("prune folder", USAGE, "no checkpoints below"),
    ("prune folder --all --weights-only", USAGE, "leave out one of the two"),
    ("report nowhere", FAILURE, "there is no run directory nowhere"),
    ("report begun texts", FAILURE, "is not a run directory"),
    ("recipe --explain pretrain.max_token", USAGE, "did you mean `pretrain.max_tokens`?"),
    ("recipe --set a=b", USAGE, "none is named"),
    ("doctor broken", FAILURE, "model_type is None"),
    ("completion tcsh", USAGE, "is not one of"),
)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what a person may have lying about."""
    monkeypatch.chdir(tmp_path)
    for name in ("folder", "texts", "broken", "begun/stages"):
        Path(name).mkdir(parents=True)
    Path("file").touch()
    Path("loop").symlink_to("loop")
    os.mkfifo("pipe")
    Path("texts/a.txt").write_text("some words, 一些文字。\n", encoding="utf-8")
    Path("unclosed.toml").write_text('[run\nname = "x"\n')
    Path("typo.toml").write_text('[run]\nname = "x"\n[pretrian]\nmax_tokens = 5\n')
    Path("itself.toml").write_text('base = "itself.toml"\n')
    Path("gbk.toml").write_bytes('[run]\nname = "中文"\n'.encode("gbk"))
    Path("binary.toml").write_bytes(b"\x00\xff\xfe")
    Path("broken/config.json").write_text("{}")
    Path("broken/model.safetensors").write_bytes(b"no")
    Path("dialogues.jsonl").write_text('{"messages": 3}\nno json\n')
    return tmp_path


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize(("typed", "code", "said"), MISTAKES, ids=[row[0] for row in MISTAKES])
def test_a_mistake_ends_with_a_sentence(
    typed: str,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["tongwen", *shlex.split(typed, posix="[" not in typed)])
    with pytest.raises(SystemExit) as end:
        main()
    errors = capsys.readouterr().err
    assert end.value.code == code, errors
    assert said in errors
    assert "Traceback" not in errors
    assert not Path("o/manifest.json").exists()


def tongwen(*arguments: str | bytes, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "tongwen", *arguments], capture_output=True, check=False,
        env={**os.environ, **environment}, timeout=240,
    )  # fmt: skip


@pytest.mark.usefixtures("desk")
def test_names_that_the_locale_cannot_write_are_escaped() -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    result = tongwen("recipe", "sample", "--set", 'run.name="名"', **ascii_only)
    assert b"Traceback" not in result.stderr
    result = tongwen("run", "名字", LC_ALL="C")
    assert "there is no recipe `名字`" in result.stderr.decode()


@pytest.mark.usefixtures("desk")
def test_a_file_whose_name_is_not_utf8_is_refused_by_name() -> None:
    name = "名.txt".encode("gbk")
    Path(os.fsdecode(name)).write_text("words")
    result = tongwen("crawl", name, "--format", "text", "--out", "o")
    assert result.returncode == FAILURE
    assert b"is not UTF-8" in result.stderr
    assert b"convmv" in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a user to become")
def test_folders_that_may_not_be_written_are_named(desk: Path) -> None:
    for folder in (desk, *desk.parents[:2]):
        folder.chmod(0o755)

    def become_nobody() -> None:
        os.setgid(65534)
        os.setuid(65534)

    for typed in ("crawl texts --out new --format text", "run smallest", "report begun"):
        try:
            result = subprocess.run(
                [sys.executable, "-m", "tongwen", *typed.split()], capture_output=True,
                check=False, text=True, preexec_fn=become_nobody,
                env={**os.environ, "HOME": "/nonexistent"},
            )  # fmt: skip
        except PermissionError:
            pytest.skip("this Python may not be run by everybody")
        if "No module" in result.stderr:
            pytest.skip("the package may not be read by everybody")
        assert result.returncode == FAILURE, result.stderr
        assert "Permission denied" in result.stderr
        assert "Traceback" not in result.stderr


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize(
    ("typed", "extras"),
    [("run smallest", "data,train"), ("curate folder --out o", "data"),
     ("quantize broken --out o", "train")],
)  # fmt: skip
def test_packages_that_a_recipe_needs_are_named_before_any_work(
    typed: str, extras: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    hidden = ("opencc", "jinja2", "sentencepiece")
    monkeypatch.setattr(
        "tongwen.road.needed.importlib.util.find_spec",
        lambda name, *rest: None if name in hidden else find(name, *rest),
    )
    monkeypatch.setattr(sys, "argv", ["tongwen", *typed.split()])
    with pytest.raises(SystemExit):
        main()
    errors = capsys.readouterr().err
    assert f"pip install 'tongwen[{extras}]'" in errors
    assert not Path("runs").exists()
    assert not Path("o").exists()


def test_what_torchrun_starts_many_times_says_so_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    for rank in range(4):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        monkeypatch.setattr(sys, "argv", ["tongwen", "run", "sample"])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == USAGE
    errors = capsys.readouterr().err
    assert errors.count("torchrun started 4 processes, and `tongwen run` works in one") == 1
    assert "torchrun --nproc-per-node 8 -m tongwen pretrain" in errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_says_at_once_what_it_does_and_is_in_the_log(
    tmp_path: Path, number: signal.Signals
) -> None:
    """A crawl of a slow server, which waits as any stage does."""
    code = (
        "import pathlib, time, tongwen.crawl.stage as stage\n"
        "stage.run = lambda context: (pathlib.Path('waits').touch(), time.sleep(240))\n"
        "from tongwen.cli.main import main\n"
        "main()\n"
    )
    (tmp_path / "a.txt").write_text("words")
    process = subprocess.Popen(
        [sys.executable, "-c", code, "crawl", "a.txt", "--format", "text", "--out", "o"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        while not (tmp_path / "waits").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "stopping: what is finished is kept; once more ends at once" in errors
    assert "run the same command to continue" in errors
    last = json.loads((tmp_path / "o" / "events.jsonl").read_text().splitlines()[-1])
    assert (last["stage"], last["event"]) == ("crawl", "stopped")
