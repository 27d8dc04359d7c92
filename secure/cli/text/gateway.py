"""`secure gateway`: where programs that speak OpenAI's API reach a private model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure.cli.adversary import SecurityOption
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import (
    ConfigOption,
    NamesOption,
    ProtocolOption,
    WeightsOption,
    check_serving_is_installed,
    examples,
)
from secure.cli.text.loaded import loaded
from secure.http.api_keys import find_api_key
from secure.http.callers import Callers, KeysFile, callers_with
from secure.protocols.core.errors import ConfigurationError

with lazy_imports(__name__):
    from secure.gateway import serving
    from secure.http import host as http_host

API_KEY = "SECURE_GATEWAY_API_KEY"
"""Holds the key that programs send, where no file is named."""

EXAMPLES = examples(
    "secure gateway checkpoint",
    "secure gateway shares --config parties.toml --port 8081",
    "OPENAI_BASE_URL=http://127.0.0.1:8081/v1 python program.py",
)


def gateway(
    model: Annotated[Path, typer.Argument(metavar="DIR", help="A checkpoint or split folder, with its tokenizer.")],
    config: ConfigOption = None,
    host: Annotated[
        str, typer.Option(help="Where programs reach it; other machines too need an API key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8081,
    weights: WeightsOption = None,
    name: NamesOption = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"Its first line is the key that programs send. Otherwise {API_KEY}."),
    ] = None,
    keys_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A TOML file with a name and a key for each caller, read again when it changes."
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="A web page that may use the gateway (CORS), such as https://chat.example. Default: none."),
    ] = None,
    protocol: ProtocolOption = "beaver",
    security: SecurityOption = None,
    parent_on_stdin: Annotated[bool, typer.Option("--parent-on-stdin", hidden=True)] = False,
) -> None:
    """Let programs that speak OpenAI's API use a private model, by their base URL alone.

    Runs at the client's side until SIGTERM or Ctrl-C, and sees texts in the clear; the parties get shares. Without
    --config, parties are started on this machine, for trying: it protects nothing then. Texts to embed that arrive
    while a session runs go out together in the next one.
    """
    check_serving_is_installed()
    listen = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    callers = _callers(api_key_file, keys_file, listen)  # before processes start
    http_host.check_origins(allow_origin or [])
    if config is None:
        typer.echo("all parties run on this machine, for trying: nothing is hidden from it", err=True)
    # An embedding needs no head.
    head = serving.is_language_model(model)
    with loaded(model, config, protocol, weights, head=head, security=security) as private:
        serving.run_gateway(
            private,
            listen=listen,
            names=name or [model.resolve().name],
            callers=callers,
            origins=allow_origin or [],
            parent_on_stdin=parent_on_stdin,
        )


def _callers(api_key_file: Path | None, keys_file: Path | None, listen: str) -> Callers:
    """Who may ask. Raises ConfigurationError where everybody could, or for a file that is wrong."""
    if keys_file is not None:
        if api_key_file is not None:
            raise ConfigurationError("--api-key-file and --keys-file exclude each other; put the key into the latter")
        return KeysFile(keys_file)
    api_key = find_api_key(api_key_file, API_KEY)
    http_host.check_exposure(listen, api_key, "the gateway")
    return callers_with(api_key)
