"""`secure doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import ConfigOption, end, examples
from secure.parties.process.exit_codes import ExitCode
from secure.protocols.core.errors import ConfigurationError

with lazy_imports(__name__):
    from secure.cli import checks
    from secure.parties.client import measuring

EXAMPLES = examples(
    "secure doctor", "secure doctor --config parties.toml", "secure doctor --config parties.toml --measure network.toml"
)
_VERDICTS = {"ok": "[green]ok[/green]", "note": "[yellow]note[/yellow]", "fail": "[red]fail[/red]"}


def doctor(
    config: ConfigOption = None,
    measure: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Measure the way to each party and this machine, and add both to this file, for secure cost.",
        ),
    ] = None,
) -> None:
    """Check the installation; with --config also certificates, ports, and whether each party can be reached.

    With --measure, on each host in turn, the file comes to have the way between every two machines, and their speed.
    """
    if measure is not None and config is None:
        raise ConfigurationError("--measure needs --config, which says where the parties are")
    done = checks.examine(config)
    table = Table(show_header=False, box=None, padding=(0, 2))
    for check in done:
        table.add_row(_VERDICTS[check.verdict], escape(check.what), escape(check.detail))
    Console().print(table)
    failed = sum(check.verdict == "fail" for check in done)
    typer.echo(f"{len(done)} checks, {failed} failed.")
    if failed:
        end(ExitCode.CONFIGURATION)
    if measure is not None and config is not None:
        links, hosts = measuring.measure(config, measure)
        for pair, link in links.items():
            one, other = sorted(pair)
            typer.echo(
                f"{one} and {other}: {1e3 * link.round_trip_seconds:.2f} ms there and back, "
                f"{link.bits_per_second / 1e6:,.0f} Mbps"
            )
        for role, speed in hosts.items():
            typer.echo(
                f"{role} computes here: {1e6 * speed.round_seconds:,.0f} µs a round, {1e9 * speed.byte_seconds:.2f} ns "
                f"a byte, {1e9 * speed.multiplication_seconds:.3f} ns a multiplication"
            )
        typer.echo(f"Written to {measure}.")
