"""Options that several of these commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure.protocols.core.errors import ConfigurationError

DirOption = Annotated[
    Path,
    typer.Option("--dir", metavar="DIR", help="This host's certificates: the folder that tls.dir names."),
]
AuthorityOption = Annotated[
    Path, typer.Option("--authority", metavar="DIR", help="The authority's folder, on a machine that is no party's.")
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option("--passphrase-file", metavar="FILE", help="A file with the passphrase, in place of being asked."),
]
NameOption = Annotated[str | None, typer.Option("--name", metavar="NAME", help="A client's or an owner's own name.")]
RolesOption = Annotated[
    list[str],
    typer.Option("--role", metavar="ROLE", help="p0, p1, p2, dealer, client, owner or server. May be repeated."),
]


def passphrase(path: Path | None, *, new: bool = False) -> str:
    """What opens an authority's key: from a file, or asked for. Raises ConfigurationError for a file that is none."""
    if path is None:
        return str(typer.prompt("Passphrase of the authority", hide_input=True, confirmation_prompt=new))
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: the passphrase cannot be read: {type(error).__name__}") from None


def contents(path: Path) -> bytes:
    """A file that somebody sent. Raises ConfigurationError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
