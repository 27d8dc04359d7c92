"""`secure launch`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from secure.cli.adversary import DealersOption, SecurityOption, protocol_for
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import (
    ConfigOption,
    DeviceOption,
    EngineName,
    MemoryOption,
    ProtocolOption,
    examples,
    memory_bytes,
)
from secure.protocols.core.errors import ConfigurationError

with lazy_imports(__name__):
    from secure.parties import launcher

EXAMPLES = examples(
    "secure launch",
    "secure launch --security malicious --dealers 2",
    "secure launch --protocol hybrid --engine transfer",
    "secure launch --config parties.toml --device cuda",
)


def launch(
    config: ConfigOption = None,
    protocol: ProtocolOption = "beaver",
    security: SecurityOption = None,
    dealers: DealersOption = None,
    memory_gb: MemoryOption = None,
    device: DeviceOption = None,
    engine: Annotated[
        EngineName | None,
        typer.Option(help="By what protocol hybrid computes what is not linear: circuits, or oblivious transfers."),
    ] = None,
) -> None:
    """Start all parties on this machine, and stop them with Ctrl-C.

    Without --config it takes free ports and fresh certificates, in a private folder that is removed at the end. With
    it, the file says which protocol.

    All of them on one machine is for trying and measuring. It protects nothing from that machine.
    """
    console = Console(stderr=True)
    log, room = launcher.console_log(console), memory_bytes(memory_gb)
    wanted = protocol_for(protocol, security, config, dealers)
    if config is not None and engine is not None:
        raise ConfigurationError(f"{config} says itself by what engine its parties compute; leave --engine out")
    with launcher.launch(config, protocol=wanted, log=log, memory_bytes=room, device=device, engine=engine) as started:
        path = config or started.config
        count = {2: "two", 3: "three", 4: "four", 5: "five"}[len(started.settings.parties)]
        console.print(f"All {count} serve. Connect with [cyan]--config {escape(str(path))}[/cyan]; Ctrl-C stops them.")
        try:
            started.wait()
        except KeyboardInterrupt:
            console.print("Stopping.")
