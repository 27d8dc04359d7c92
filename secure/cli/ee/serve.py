"""`secure ee serve`: the server of an encrypted checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure.cli.ee.options import API_KEY
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import check_serving_is_installed, examples
from secure.http.api_keys import find_api_key
from secure.parties.encrypted.limits import GenerationLimits

with lazy_imports(__name__):
    from secure.ee.http import serving

EXAMPLES = examples(
    "secure ee serve encrypted --certificates certs",
    "secure ee serve encrypted --http 127.0.0.1:8000",
    "secure ee serve encrypted --certificates certs --https 0.0.0.0:8443 --api-key-file key --device cuda",
)


def serve(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An encrypted checkpoint. No key is needed here.")],
    certificates: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="authority.crt, server.crt, server.key. With them gRPC is served."),
    ] = None,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where gRPC listens.")] = "127.0.0.1:7110",
    http: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="OpenAI-compatible endpoint of ids, on this machine only.")
    ] = None,
    https: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="The same with the certificates' TLS, for other machines.")
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"Its first line is the key that HTTP callers send. Otherwise {API_KEY}."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the tensor library.")] = None,
    name: Annotated[str | None, typer.Option(help="What callers name the model; the default is the folder's.")] = None,
    prompt_tokens: Annotated[int, typer.Option(min=1, help="Longest prompt.")] = GenerationLimits.prompt_tokens,
    new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens in an answer.")] = GenerationLimits.new_tokens,
    requests: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = GenerationLimits.requests,
    parent_on_stdin: Annotated[bool, typer.Option("--parent-on-stdin", hidden=True)] = False,
) -> None:
    """Run an encrypted checkpoint until SIGTERM or Ctrl-C. This side sees encrypted token ids only.

    gRPC, with certificates of secure ee certs, is for this package's clients; HTTP is for any others.
    """
    check_serving_is_installed()
    serving.run_server(
        folder,
        certificates=certificates,
        listen=listen,
        http=http,
        https=https,
        api_key=find_api_key(api_key_file, API_KEY),
        device=device,
        threads=threads,
        name=name,
        limits=GenerationLimits(prompt_tokens=prompt_tokens, new_tokens=new_tokens, requests=requests),
        parent_on_stdin=parent_on_stdin,
    )
