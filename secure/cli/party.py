"""`secure party`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import DeviceOption, MemoryOption, PartyName, end, examples, memory_bytes

with lazy_imports(__name__):
    from secure.parties.process import main as party_process
    from secure.parties.process import model_engine

EXAMPLES = examples("secure party p0 --config parties.toml", "secure party dealer --config parties.toml")


def party(
    role: Annotated[PartyName, typer.Argument(help="Which of the three that the file names.")],
    config: Annotated[Path, typer.Option("--config", metavar="TOML", help="The same file on every host.")],
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of the tensor library; the default is the file's.")
    ] = None,
    memory_gb: MemoryOption = None,
    device: DeviceOption = None,
    log_format: Annotated[
        Literal["text", "json"] | None,
        typer.Option(help="Of its log, on standard error; text is the default, json is an object a line."),
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Send spans of its sessions to this collector, by OTLP over HTTP."),
    ] = None,
) -> None:
    """Run one party in this process, until SIGTERM or Ctrl-C.

    It listens where the file says, at listen or else at address. Where others reach this host by an address that is not
    its own, as behind NAT or in a container, the file has listen = "0.0.0.0:PORT" beside that address. Options here go
    before the file's limits and device.
    """
    given = {
        "--threads": threads,
        "--memory-bytes": memory_bytes(memory_gb),
        "--device": device,
        "--log-format": log_format,
        "--trace": trace,
    }
    options = [text for name, value in given.items() if value is not None for text in (name, str(value))]
    end(party_process.main([role, "--config", str(config), *options], model_engine.model_engine))
