"""`tongwen serve RUN --status`: a page that follows a run."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import click

from tongwen.cli.listening import api_key, bind, is_loopback, listen


def serve_status(runs: Sequence[Path], host: str | None, port: int | None) -> None:
    """Serve the report of a run while it continues, until Ctrl-C.

    The same protection as the chat page: the run can be seen from this machine only, or with
    a key; pages of other sites are refused.

    Raises:
        TongwenError: one of `runs` is not a run directory, or the address cannot be listened on.
    """
    from tongwen.report.live import LivePage
    from tongwen.report.run_files import RunFiles
    from tongwen.serve.access import LOOPBACK_HOSTS, Guard
    from tongwen.serve.keys import Keyring, KeySettings
    from tongwen.serve.settings import ServeSettings

    page = LivePage(runs)
    settings = ServeSettings() if host is None else ServeSettings(host=host)
    with bind(settings.host, settings.port if port is None else port) as listener:
        is_local = is_loopback(settings.host)
        key = api_key(required=not is_local)
        guarded = Guard(
            page,
            keyring=None if key is None else Keyring([KeySettings(name="key", key=key)]),
            hosts=LOOPBACK_HOSTS if is_local and key is None else None,
        )
        names = ", ".join(RunFiles.open(run).name for run in runs)
        click.echo(f"status of {names}; Ctrl-C ends this page, not the run", err=True)
        with contextlib.suppress(KeyboardInterrupt):
            listen(guarded, listener, settings, place="" if key is None else f"#key={key}")
        click.echo("stopped", err=True)
