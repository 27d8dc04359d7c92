"""`secure ee audit …`: canaries with stored answers for one untrusted server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secure.cli.audit import (
    CanariesArgument,
    CanariesOut,
    CountOption,
    HonestOption,
    LogOption,
    conclude,
    describe,
    log_of,
)
from secure.cli.ee.options import API_KEY, BACKEND_API_KEY, PassphraseOption, key_from
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import SentencesFile, check_serving_is_installed, examples
from secure.cli.text.sentences import find_sentences
from secure.http.api_keys import find_api_key
from secure.protocols.core.errors import ConfigurationError

if TYPE_CHECKING:
    from secure.audit.canaries import Asked
    from secure.audit.compare import Kind
    from secure.parties.encrypted.runner import Runner

with lazy_imports(__name__):
    from secure.audit import canaries as stored
    from secure.audit import endpoint, mixing, running
    from secure.audit import models as audited
    from secure.ee.client import answers, budget, open_runner
    from secure.ee.files import checkpoint, claims
    from secure.ee.http import serving
    from secure.http import asking

PREPARE = examples(
    "secure ee audit prepare path/to/base texts.txt --encrypted encrypted --key model.key --out canaries.json",
    "secure ee audit prepare path/to/base texts.txt --url http://127.0.0.1:8000/v1 --model llama --out canaries.json",
)
RUN = examples(
    "secure ee audit run canaries.json --encrypted encrypted --key model.key --backend grpc://server:7110 "
    "--certificates certs",
    "secure ee audit run canaries.json --url http://127.0.0.1:8000/v1 --model llama --count 5",
)
PROXY = examples("secure ee audit proxy canaries.json --url https://server.example/v1 --rate 0.05")
REPORT = examples("secure ee audit report canaries.json")

EncryptedOption = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The encrypted checkpoint; its encryption.json and client.sealed do.")
]
KeyFileOption = Annotated[Path | None, typer.Option("--key", metavar="KEY", help="With --encrypted: the key file.")]
UrlOption = Annotated[
    str | None, typer.Option(metavar="URL", help="Instead: a server of plain text that speaks OpenAI's API, with /v1.")
]
ModelOption = Annotated[str | None, typer.Option("--model", help="With --url: what the server calls the model.")]
ApiKeyOption = Annotated[
    Path | None,
    typer.Option("--backend-api-key-file", metavar="FILE", help=f"Its first line. Otherwise {BACKEND_API_KEY}."),
]
_EITHER = "name the server: --encrypted DIR with --key KEY, or --url URL with --model NAME"

app = typer.Typer(
    name="audit",
    help="Canaries: texts whose right answers you know, for one untrusted server. In order: prepare, with the base in "
    "the clear; run, or a proxy; report. docs/audit.md says what they show.",
    epilog=PREPARE,
    no_args_is_help=True,
    rich_markup_mode="rich",
)


@app.command(epilog=PREPARE)
def prepare(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="The checkpoint in the clear, at its owner's.")],
    file: SentencesFile = None,
    out: CanariesOut = Path("canaries.json"),
    honest: HonestOption = 24,
    encrypted: EncryptedOption = None,
    key: KeyFileOption = None,
    passphrase_file: PassphraseOption = None,
    url: UrlOption = None,
    model: ModelOption = None,
    backend_api_key_file: ApiKeyOption = None,
) -> None:
    """Compute the base's answers to texts of your own traffic, and measure how far honest ones are from them.

    Honest answers are those of the encrypted checkpoint, computed here; or those of the server at URL, which must be
    honest now. What it then does by agreement, such as weights in bfloat16, counts as honest.
    """
    texts, clear = find_sentences(file, []), audited.ClearModel(base)
    if encrypted is not None and key is not None and url is None:
        opened = checkpoint.open_checkpoint(encrypted, key_from(key, passphrase_file))
        runner = open_runner.open_runner(opened, None, None, "cpu")
        served: Asked = answers.EncryptedAnswers(opened, runner, clear.kind)
    else:
        served = _endpoint(url, model, clear.kind, backend_api_key_file, encrypted, key)
    made = stored.prepare(clear.kind, texts, clear, served, noise_texts=honest)
    made.save(out)
    describe(made, out)


@app.command(epilog=RUN)
def run(
    canaries: CanariesArgument,
    count: CountOption = 5,
    log: LogOption = None,
    encrypted: EncryptedOption = None,
    key: KeyFileOption = None,
    passphrase_file: PassphraseOption = None,
    backend: Annotated[
        str | None, typer.Option(metavar="URL", help="With --encrypted: grpc://HOST:PORT, https://… or http://…")
    ] = None,
    certificates: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With --backend: authority.crt, client.crt, client.key.")
    ] = None,
    url: UrlOption = None,
    model: ModelOption = None,
    backend_api_key_file: ApiKeyOption = None,
) -> None:
    """Ask canaries that were not asked before: a server that has seen a text twice may know it for a canary.

    Ends with code 27 where one was answered wrong.
    """
    found = stored.Canaries.load(canaries)
    if encrypted is None or key is None or url is not None:
        asked = _endpoint(url, model, found.kind, backend_api_key_file, encrypted, key)
        running.run(asked, found, running.AuditLog(log_of(canaries, log)), count=count, again=False)
    else:
        if backend is None:
            raise ConfigurationError("name the server that is audited: --backend grpc://HOST:PORT or http://…")
        api_key = find_api_key(backend_api_key_file, BACKEND_API_KEY)
        with _encrypted(
            encrypted, key, passphrase_file, found.kind, backend, certificates, api_key=api_key, model=model
        ) as served:
            running.run(served, found, running.AuditLog(log_of(canaries, log)), count=count, again=False)
    conclude(canaries, log)


@app.command(epilog=PROXY)
def proxy(
    canaries: CanariesArgument,
    url: Annotated[str, typer.Option(metavar="URL", help="The server of plain text that is audited, with /v1.")],
    rate: Annotated[float, typer.Option(min=0.0, max=0.5, help="Which share of all requests are canaries.")] = 0.05,
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where programs reach it.")] = "127.0.0.1:8080",
    log: LogOption = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"Its first line is the key that programs send. Otherwise {API_KEY}."),
    ] = None,
    backend_api_key_file: ApiKeyOption = None,
    parent_on_stdin: Annotated[bool, typer.Option("--parent-on-stdin", hidden=True)] = False,
) -> None:
    """Let programs use a server of plain text that speaks OpenAI's API, and mix canaries in among their requests.

    Programs change their base URL alone. Of an encrypted checkpoint, secure ee proxy --audit does the same. Wrong
    answers are in its log, and in what secure ee audit report says.
    """
    check_serving_is_installed()
    backend_key = find_api_key(backend_api_key_file, BACKEND_API_KEY)
    asking.check_url(url, with_key=backend_key is not None)
    found = mixing.Audit(stored.Canaries.load(canaries), running.AuditLog(log_of(canaries, log)), rate)
    api_key = find_api_key(api_key_file, API_KEY)
    serving.run_audit_proxy(
        url, found, listen=listen, api_key=api_key, backend_api_key=backend_key, parent_on_stdin=parent_on_stdin
    )


@app.command(epilog=REPORT)
def report(canaries: CanariesArgument, log: LogOption = None) -> None:
    """Say what all runs so far, and a proxy, found. Code 27 where a canary was answered wrong."""
    conclude(canaries, log)


@contextmanager
def _encrypted(
    folder: Path,
    key: Path,
    passphrase_file: Path | None,
    kind: Kind,
    backend: str,
    certificates: Path | None,
    *,
    api_key: str | None,
    model: str | None,
) -> Iterator[Asked]:
    """An encrypted checkpoint's server; what it is asked counts towards the claim's budget."""
    opened = checkpoint.open_checkpoint(folder, key_from(key, passphrase_file))
    claim = claims.require(opened.manifest.tier, opened.manifest.configuration)

    def reached(wanted: checkpoint.OpenedCheckpoint) -> Runner:
        return serving.runner_at(
            backend, wanted, certificates=certificates, api_key=api_key, model=model, unchecked=False
        )

    runner = budget.BudgetedRunner(opened, reached, claim.tokens_limit)
    try:
        yield answers.EncryptedAnswers(opened, runner, kind)
    finally:
        runner.close()


def _endpoint(
    url: str | None, model: str | None, kind: Kind, key_file: Path | None, encrypted: Path | None, key: Path | None
) -> endpoint.Endpoint:
    if url is None or model is None or encrypted is not None or key is not None:
        raise ConfigurationError(_EITHER)
    return endpoint.Endpoint(url, model, kind, api_key=find_api_key(key_file, BACKEND_API_KEY))
