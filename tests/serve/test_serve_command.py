"""`tongwen serve` from outside: it listens, says where, refuses with reasons and ends cleanly."""

import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from tongwen.cli.listening import api_key, bind, is_loopback
from tongwen.cli.serve import command
from tongwen.errors import InputError, RecipeError, TongwenError, UsageError
from tongwen.model.quantized.folder import (
    is_quantized,
    quantize_model,
    save_quantized_folder,
)
from tongwen.model.sampler import Sampling
from tongwen.serve.settings import ServeSettings
from tongwen.serve.source import find_source, load_served_model, run_settings
from tongwen.stages import find_model_folder


def link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target, target_is_directory=True)


def test_the_server_says_where_it_listens_and_ends_cleanly_on_ctrl_c(
    small_model_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "trial"
    link(run / "stages" / "tune" / "model", small_model_folder)
    process = subprocess.Popen(
        [sys.executable, "-m", "tongwen", "serve", str(run), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        model = httpx.get(f"{url}v1/models").json()["data"][0]
        assert model["id"] == "trial"
        assert model["context_length"] == 128
        body = {"model": "trial", "prompt": "The road", "max_tokens": 3}
        answer = httpx.post(f"{url}v1/completions", json=body).json()
        assert answer["usage"]["completion_tokens"] <= 3
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "stopped" in errors
        assert "Traceback" not in errors
    finally:
        process.kill()
        process.communicate()


def test_a_port_in_use_is_named_with_a_free_one(small_model_folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(TongwenError, match=f"port {port} of 127.0.0.1 is in use") as caught:
            CliRunner().invoke(
                command, [str(small_model_folder), "--port", str(port)], catch_exceptions=False
            )
    assert caught.value.hint is not None
    free = int(caught.value.hint.rpartition(" ")[2])
    bind("127.0.0.1", free).close()


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match=host):
        bind(host, 0)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nowhere"], "no model folder or run directory nowhere"),
        (["{empty}"], "holds no model"),
        (["{empty}", "--quantized"], "holds no quantized model"),
        (["{without_tokenizer}"], "tokenizer"),
    ],
)
def test_a_model_that_cannot_be_served_is_refused_before_listening(
    small_model_folder: Path, tmp_path: Path, arguments: list[str], text: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare").mkdir()
    for name in ("config.json", "model.safetensors", "generation_config.json"):
        (tmp_path / "bare" / name).write_bytes((small_model_folder / name).read_bytes())
    places = {"empty": tmp_path / "empty", "without_tokenizer": tmp_path / "bare"}
    given = [argument.format(**places) for argument in arguments]
    with pytest.raises(InputError, match=text):
        CliRunner().invoke(command, [*given, "--port", "0"], catch_exceptions=False)


def test_a_run_stands_for_its_latest_model_and_its_int8_one_on_request(
    small_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "runs" / "trial"
    for stage in ("pretrain", "tune", "quantize"):
        link(run / "stages" / stage / "model", small_model_folder)
    assert find_model_folder(run) == run / "stages/tune/model"
    assert find_model_folder(run, is_quantized=True) == run / "stages/quantize/model"
    link(run / "model", small_model_folder)
    assert find_model_folder(run) == run / "model"
    assert find_model_folder(small_model_folder, is_quantized=True) == small_model_folder
    monkeypatch.chdir(tmp_path)
    assert find_source(Path("trial")) == Path("runs/trial")
    loaded = load_served_model(Path("runs/trial/model"), quantized=False, settings=ServeSettings())
    assert loaded.name == "trial"


def test_the_runs_own_recipe_says_how_it_is_served(tmp_path: Path) -> None:
    text = 'base = "sample"\n[serve]\nport = 8123\nmax_tokens = 99\n'
    (tmp_path / "recipe.toml").write_text(text)
    settings = run_settings(tmp_path)
    assert (settings.port, settings.max_tokens) == (8123, 99)


@pytest.mark.parametrize(
    "values", [{"port": -1}, {"port": 70_000}, {"max_tokens": 0}, {"temperature": -0.5}]
)
def test_impossible_settings_are_refused(values: Any) -> None:
    with pytest.raises(RecipeError, match=next(iter(values))):
        ServeSettings(**values)


def test_stop_ids_hold_the_end_of_a_turn_even_where_the_folder_forgot_it(
    small_model_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "yi"
    folder.mkdir()
    for file in small_model_folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "generation_config.json").write_text('{"eos_token_id": 2}')
    loaded = load_served_model(folder, quantized=False, settings=ServeSettings())
    assert loaded.stop_ids == (2, 7)
    assert loaded.has_chat


def test_an_int8_folder_is_served_in_the_precision_of_plain_weights(
    small_model_folder: Path, tmp_path: Path
) -> None:
    loaded = load_served_model(small_model_folder, quantized=False, settings=ServeSettings())
    names = quantize_model(loaded.model)
    save_quantized_folder(tmp_path / "int8", loaded.model, small_model_folder, names)
    loaded = load_served_model(tmp_path / "int8", quantized=False, settings=ServeSettings())
    assert loaded.model.model.norm.weight.dtype.itemsize == 4
    assert is_quantized(loaded.model)


def test_a_server_that_others_can_reach_has_a_key(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TONGWEN_API_KEY", raising=False)
    assert api_key(required=False) is None
    made = api_key(required=True)
    assert made is not None
    assert len(made) >= 32
    assert made in capsys.readouterr().err
    monkeypatch.setenv("TONGWEN_API_KEY", "secret")
    assert api_key(required=True) == "secret"
    assert "secret" not in capsys.readouterr().err
    assert [is_loopback(host) for host in ("127.0.0.1", "127.0.0.9", "::1", "localhost")] == [
        True
    ] * 4
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.5", "example.org"))


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, Sampling()),
        ({"do_sample": False, "temperature": 0.6, "top_p": 0.8}, Sampling(top_p=0.8)),
        (
            {"do_sample": True, "temperature": 0.6, "top_k": 40, "repetition_penalty": 1.3},
            Sampling(temperature=0.6, top_k=40, repetition_penalty=1.3),
        ),
        ({"do_sample": True, "top_k": 0}, Sampling(temperature=1.0)),
    ],
)
def test_tokens_are_chosen_as_the_models_folder_says_unless_the_recipe_does(
    small_model_folder: Path, tmp_path: Path, config: dict[str, Any], expected: Sampling
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(small_model_folder, folder)
    (folder / "generation_config.json").write_text(json.dumps(config), encoding="utf-8")
    loaded = load_served_model(folder, quantized=False, settings=ServeSettings())
    assert loaded.sampling == expected
    assert ServeSettings().sampling_over(loaded.sampling) == expected
    recipe = ServeSettings(temperature=0.3).sampling_over(loaded.sampling)
    assert (recipe.temperature, recipe.top_k) == (0.3, expected.top_k)


def test_a_generation_config_out_of_range_is_refused(
    small_model_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(small_model_folder, folder)
    (folder / "generation_config.json").write_text('{"top_p": 7}', encoding="utf-8")
    with pytest.raises(InputError, match="top_p is 7"):
        load_served_model(folder, quantized=False, settings=ServeSettings())
