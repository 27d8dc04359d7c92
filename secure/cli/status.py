"""`secure status`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import end, examples
from secure.parties.process.exit_codes import ExitCode

with lazy_imports(__name__):
    from secure.parties import settings_file as settings
    from secure.parties.client import status as asking

EXAMPLES = examples("secure status --config parties.toml", "secure status --config parties.toml --json")
_DAY_SECONDS, _SOON_DAYS = 86_400, 30


def status(
    config: Annotated[Path, typer.Option("--config", metavar="TOML", help="The same file as the parties'.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print what the roles say as JSON.")] = False,
) -> None:
    """What all roles say of themselves; on a host with the certificate of a party or of the models' owner."""
    found = asking.statuses(settings.load_settings(config))
    if as_json:
        typer.echo(json.dumps({role: asdict(each) for role, each in found.items()}))
    else:
        columns = ("role", "state", "version", "up", "sessions", "waiting", "models", "stock", "certificate", "clock")
        table = Table(*columns, "last failure", box=None, padding=(0, 1))
        for role, each in found.items():
            if each.said is None:
                table.add_row(role, f"[red]{escape(each.why_not)}[/red]")
            else:
                table.add_row(role, *_cells(each.said, each.clock_difference_seconds))
        Console().print(table)
    if any(each.said is None for each in found.values()):
        end(ExitCode.UNREACHABLE)


def _cells(said: dict[str, Any], clock_seconds: float) -> list[str]:
    """The cells of one role after its name. said: as `Figures.status` makes it."""
    days = said["certificate_seconds_left"] / _DAY_SECONDS
    left = f"{days:.0f} days" if days >= _SOON_DAYS else f"[yellow]{days:.1f} days[/yellow]"
    stock = "" if said["stock"] is None else str(said["stock"].get("stock", 0))
    failure = "" if said["last_failure"] is None else "{}, {:.0f} s ago".format(*said["last_failure"])
    state = said["state"] if said["state"] == "serving" else f"[yellow]{escape(said['state'])}[/yellow]"
    return [
        state,
        escape(said["version"]),
        f"{said['uptime_seconds'] / 3600:.1f} h",
        str(said["sessions"]),
        str(said["waiting"]),
        escape(" ".join(said["models"])),
        stock,
        left,
        f"{clock_seconds:+.1f} s",
        escape(failure),
    ]
