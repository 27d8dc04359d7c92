"""`secure doctor`."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import ConfigOption, end, examples
from secure.parties.process.exit_codes import ExitCode

with lazy_imports(__name__):
    from secure.cli import checks

EXAMPLES = examples("secure doctor", "secure doctor --config parties.toml")
_VERDICTS = {"ok": "[green]ok[/green]", "note": "[yellow]note[/yellow]", "fail": "[red]fail[/red]"}


def doctor(config: ConfigOption = None) -> None:
    """Check the installation; with --config also certificates, ports, and whether each party can be reached."""
    done = checks.examine(config)
    table = Table(show_header=False, box=None, padding=(0, 2))
    for check in done:
        table.add_row(_VERDICTS[check.verdict], escape(check.what), escape(check.detail))
    Console().print(table)
    failed = sum(check.verdict == "fail" for check in done)
    typer.echo(f"{len(done)} checks, {failed} failed.")
    if failed:
        end(ExitCode.CONFIGURATION)
