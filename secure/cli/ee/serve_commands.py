"""`secure ee serve`, `secure ee proxy` and `secure ee certs`: the processes round an encrypted checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secure.cli.ee.options import AssumedTier, KeyOption, PassphraseOption, assumption, key_from
from secure.cli.help import examples
from secure.ee.files import claims
from secure.ee.files.checkpoint import open_checkpoint
from secure.http.api_keys import find_api_key
from secure.parties.encrypted.limits import GenerationLimits
from secure.parties.encrypted.service import make_generation_certificates
from secure.protocols.core.errors import ConfigurationError

try:
    from secure.ee.http import serving
except ModuleNotFoundError as missing:
    # Everything else works without the extra `serve`.
    if missing.name not in ("httpx", "jinja2", "starlette", "uvicorn"):
        raise
    serving = None  # type: ignore[assignment]

API_KEY = "SECURE_EE_API_KEY"
"""The variable with the key that callers must send."""
BACKEND_API_KEY = "SECURE_EE_BACKEND_API_KEY"
"""The variable with the key that the proxy sends to its backend."""


def add_commands(app: typer.Typer) -> None:
    """Add them to `secure ee`."""
    app.command(
        epilog=examples(
            "secure ee serve encrypted --certificates certs",
            "secure ee serve encrypted --http 127.0.0.1:8000",
            "secure ee serve encrypted --certificates certs --https 0.0.0.0:8443 --api-key-file key --device cuda",
        )
    )(serve)
    app.command(
        epilog=examples(
            "secure ee proxy encrypted --key model.key --backend grpc://server:7110 --certificates certs",
            "secure ee proxy encrypted --key model.key --backend http://127.0.0.1:8000",
            "OPENAI_BASE_URL=http://127.0.0.1:8080/v1 python program.py",
        )
    )(proxy)
    app.command(epilog=examples("secure ee certs --out certs", "secure ee certs --out certs --host gpu.example.org"))(
        certs
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
    _check_installed()
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


def proxy(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The encrypted checkpoint; its encryption.json and client.sealed do.")
    ],
    key: KeyOption,
    backend: Annotated[str, typer.Option(metavar="URL", help="grpc://HOST:PORT, https://HOST:PORT or http://…")],
    passphrase_file: PassphraseOption = None,
    certificates: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="authority.crt, client.crt, client.key. For https the authority alone does."),
    ] = None,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where programs reach it.")] = "127.0.0.1:8080",
    name: Annotated[
        list[str] | None,
        typer.Option(help="What programs name the model; several times for several names. Default: the folder's."),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"Its first line is the key that programs send. Otherwise {API_KEY}."),
    ] = None,
    backend_api_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help=f"The same for an HTTP backend. Otherwise {BACKEND_API_KEY}.")
    ] = None,
    backend_model: Annotated[str | None, typer.Option(help="Its name at an HTTP backend that has several.")] = None,
    unchecked_backend: Annotated[
        bool, typer.Option("--unchecked-backend", help="Take an HTTP backend that does not tell its key check value.")
    ] = False,
    assume: Annotated[
        AssumedTier | None,
        typer.Option(
            help="The threat tier that you need, or none. Default: the manifest's. Refused where the red team broke it."
        ),
    ] = None,
    parent_on_stdin: Annotated[bool, typer.Option("--parent-on-stdin", hidden=True)] = False,
) -> None:
    """Let programs that speak OpenAI's API use an encrypted model, by their base URL alone.

    Runs where the key is, until SIGTERM or Ctrl-C. Text is tokenised, encrypted and decrypted here; only encrypted ids
    go to the backend.
    """
    _check_installed()
    checkpoint = open_checkpoint(folder, key_from(key, passphrase_file))
    claims.require(assumption(assume) or checkpoint.manifest.tier, checkpoint.manifest.configuration)
    runner = serving.runner_at(
        backend,
        checkpoint,
        certificates=certificates,
        api_key=find_api_key(backend_api_key_file, BACKEND_API_KEY),
        model=backend_model,
        unchecked=unchecked_backend,
    )
    serving.run_proxy(
        checkpoint,
        runner,
        listen=listen,
        names=name or [folder.resolve().name],
        api_key=find_api_key(api_key_file, API_KEY),
        parent_on_stdin=parent_on_stdin,
    )


def certs(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder for certificates and keys.")],
    host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A name or address of the server. May be repeated.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, help="How long they are valid.")] = 365,
) -> None:
    """Make an authority, and a certificate and key for the server and for its clients.

    Copy authority.crt and server.* to the server, authority.crt and client.* to clients. Then remove the keys here.
    """
    make_generation_certificates(out, {"server": host or ["127.0.0.1", "localhost"]}, days)
    typer.echo(f"Certificates and keys are in {out}. The server gets authority.crt and server.*, clients client.*.")


def _check_installed() -> None:
    if serving is None:
        raise ConfigurationError("packages are missing; install them with: pip install 'secure-inference[serve]'")
