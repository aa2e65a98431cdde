"""`tongwen completion`: what a shell needs to complete commands, options, presets and stages."""

import click
from click.shell_completion import get_completion_class


@click.command(name="completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL, to be run when it starts.

    \b
    Lines for the shells' own files:
      eval "$(tongwen completion bash)"    # ~/.bashrc
      eval "$(tongwen completion zsh)"     # ~/.zshrc, after compinit
      tongwen completion fish > ~/.config/fish/completions/tongwen.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(ctx.find_root().command, {}, "tongwen", "_TONGWEN_COMPLETE")
    click.echo(script.source_template % script.source_vars())
