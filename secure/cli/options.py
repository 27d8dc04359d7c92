"""Options that several commands share, and how a command ends."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer
from rich.markup import escape

from secure.parties.process.exit_codes import ExitCode
from secure.protocols.core.errors import ConfigurationError

# The names of families and roles, and who may know weights, stand here again, as text that needs no torch.
ProtocolName = Literal["beaver", "replicated", "witnessed", "witnessed-two-dealers", "hybrid"]
PartyName = Literal["p0", "p1", "p2", "dealer", "dealer2"]
Weights = Literal["private", "public", "server"]
NetworkProfile = Literal["near", "far", "auto"]
EngineName = Literal["garbled", "transfer"]

ProtocolOption = Annotated[
    ProtocolName,
    typer.Option(
        help="Beaver: P0, P1 and a dealer. Replicated: P0, P1 and P2, all computing. Witnessed: P0, P1, P2 and a "
        "dealer; one of the three may deviate. Witnessed-two-dealers: a second dealer beside, and one of the two may "
        "deviate instead. Hybrid: P0 at the client and P1 at the model's owner, and nobody else."
    ),
]
ProfileOption = Annotated[
    NetworkProfile | None,
    typer.Option(
        "--profile",
        help="How far the parties are from each other. Near: fewest bytes. Far: fewest rounds. Auto: as P0 measures. "
        "Default: as the file says, or near.",
    ),
]
MemoryOption = Annotated[
    float | None,
    typer.Option(
        "--memory-gb",
        min=0.1,
        metavar="GB",
        help="What a party's process may take; weights that do not fit are read from disk. Default: what is available.",
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", help="What a party computes on: cpu, cuda, cuda:1. Default: as the file says, or cpu."),
]
SentencesFile = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="A sentence on each line; standard input when it is missing or -."),
]
SentencesText = Annotated[
    list[str] | None,
    typer.Option(
        "--text",
        metavar="SENTENCE",
        help="A sentence that other users may see: they can read command lines. Several times.",
    ),
]
PhaseOption = Annotated[
    Literal["all", "online"], typer.Option(help="All of a session; or online, where a dealer has sent its part ahead.")
]
WeightsOption = Annotated[Weights | None, typer.Option(help="Default: private; of a split folder, as it was split.")]
NamesOption = Annotated[
    list[str] | None,
    typer.Option(help="What programs name the model; several times for several names. Default: the folder's."),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="TOML", help="Addresses and certificates of the parties.")
]


@dataclass
class GlobalOptions:
    """Options before the command, for `main`."""

    debug: bool = False


def memory_bytes(gigabytes: float | None) -> int | None:
    """What --memory-gb says, in bytes."""
    return None if gigabytes is None else round(gigabytes * 1e9)


def examples(*lines: str) -> str:
    """The epilogue of a command's help."""
    return "\n\n".join(["[bold]Examples[/bold]", *(f"[cyan]{escape(line)}[/cyan]" for line in lines)])


def check_serving_is_installed() -> None:
    """Raises ConfigurationError without the packages of the extra `serve`, which all other commands work without."""
    if any(find_spec(package) is None for package in ("httpx", "jinja2", "starlette", "uvicorn")):
        raise ConfigurationError("packages are missing; install them with: pip install 'secure-inference[serve]'")


def end(code: ExitCode) -> NoReturn:
    """End the command with this code."""
    raise typer.Exit(int(code))
