"""What `--security` asks for, as a protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from secure.cli.lazy_imports import lazy_imports
from secure.protocols.core.errors import ConfigurationError

if TYPE_CHECKING:
    from secure.cli.options import ProtocolName

with lazy_imports(__name__):
    from secure.parties import settings_file as settings
    from secure.protocols import families

Security = Literal["semi-honest", "malicious"]
SecurityOption = Annotated[
    Security | None,
    typer.Option(
        help="Malicious: one of three evaluators may do whatever it likes, by the protocol witnessed. Parties that run "
        "already are refused where they are of another kind."
    ),
]

DealersOption = Annotated[
    int | None,
    typer.Option(
        min=1, max=2, help="With two, a second dealer confirms what the first one deals, and one may deviate."
    ),
]


def protocol_for(
    protocol: ProtocolName, security: Security | None, config: Path | None, dealers: int | None = None
) -> ProtocolName:
    """The protocol that is started, where `security` or a number of dealers asks for one.

    Raises ConfigurationError for a protocol, or for parties in `config`, that do not withstand that adversary, or have
    another number of dealers.
    """
    if security is None and dealers is None:
        return protocol
    if config is not None:
        found = settings.load_settings(config)
        if dealers not in (None, count := len(found.family.dealers)):
            raise ConfigurationError(
                f"{config} is for the protocol {found.protocol!r}, dealers of which: {count}; {dealers} are asked for"
            )
        if security not in (None, found.family.security):
            raise ConfigurationError(
                f"{config} is for the protocol {found.protocol!r}, whose security is {found.family.security!r}; "
                f"{security!r} is asked for"
            )
        return cast("ProtocolName", found.protocol)
    # What no option says is the default, whose place another protocol may take.
    named = None if protocol == families.DEFAULT.name else protocol
    return cast("ProtocolName", families.chosen(named, security, dealers).name)
