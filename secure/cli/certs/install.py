"""`secure certs install`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure.cli.certs.options import DirOption, contents
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import examples

with lazy_imports(__name__):
    from secure.parties.transport.certificates import requesting

EXAMPLES = examples("secure certs install p1.crt --dir certs")


def install(
    path: Annotated[Path, typer.Argument(metavar="CERTIFICATE", help="What the authority sent back.")],
    folder: DirOption,
) -> None:
    """Put a signed certificate in use, with the key that was made for its request.

    A running party shows it to whoever connects from now on. Open sessions go on.
    """
    role = requesting.install(folder, contents(path))
    typer.echo(f"{folder / role}.crt and its key are in use.")
