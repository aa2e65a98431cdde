"""`tongwen complete`: a model continues a text."""

import json
import sys
from pathlib import Path

import click

from tongwen.errors import InputError


@click.command(name="complete")
@click.argument("model", metavar="MODEL_OR_RUN", type=click.Path(path_type=Path))
@click.argument("text", required=False)
@click.option("--quantized", is_flag=True, help="Use the quantized model of a run.")
@click.option("--max-tokens", type=click.IntRange(1), default=128, show_default=True,
              help="Longest continuation, in tokens.")  # fmt: skip
@click.option(
    "--temperature",
    type=click.FloatRange(0, 2),
    default=0.0,
    show_default=True,
    help="Sampling temperature; 0 always takes the most likely token.",
)
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="Sample only from the most likely tokens that make up this share.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed for sampling.")
@click.option("--stop", multiple=True, help="Stop before this text; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print prompt, text and stop reason as JSON.")
def command(
    model: Path,
    text: str | None,
    quantized: bool,
    max_tokens: int,
    temperature: float,
    top_p: float,
    seed: int,
    stop: tuple[str, ...],
    as_json: bool,
) -> None:
    """Let MODEL_OR_RUN continue TEXT, as base models do; without TEXT, standard input.

    The text and its continuation are printed as they are written. For answers to questions there
    is `tongwen chat`.

    \b
    Examples:
      tongwen complete runs/sample "The town of Bluelake"
      tongwen complete runs/sample "金田镇" --temperature 0.8 --max-tokens 60
      tongwen complete runs/sample --json < prompt.txt
    """  # fmt: skip
    prompt = _piped_text() if text is None else text

    from tongwen.model.sampler import Sampling
    from tongwen.serve.engine import Engine
    from tongwen.serve.generation import GenerationRequest
    from tongwen.serve.source import find_source, load_served_model, run_settings

    source = find_source(model)
    loaded = load_served_model(source, quantized=quantized, settings=run_settings(source))
    tokenizer = loaded.tokenizer
    ids = [*tokenizer.beginning_ids, *tokenizer.encode(prompt)] or [tokenizer.start_id]
    request = GenerationRequest(
        prompt_ids=tuple(ids),
        max_tokens=max_tokens,
        stop=stop,
        sampling=Sampling(temperature=temperature, top_p=top_p, seed=seed),
    )
    engine = Engine(loaded.model, tokenizer, loaded.stop_ids)
    written, finish = "", None
    try:
        engine.check(request)
        if not as_json:
            click.echo(prompt, nl=False)
        for delta in engine.stream(request):
            written += delta.text
            finish = delta.finish
            if not as_json:
                click.echo(delta.text, nl=False)
    finally:
        engine.close()
    value = {"prompt": prompt, "text": written, "finish": finish}
    click.echo(json.dumps(value, ensure_ascii=False) if as_json else "")


def _piped_text() -> str:
    if sys.stdin.isatty():
        raise InputError("no text to continue", hint='tongwen complete runs/sample "金田镇"')
    text = sys.stdin.read().rstrip("\n")
    if not text:
        raise InputError("the text on standard input is empty", hint="name a text to continue")
    return text
