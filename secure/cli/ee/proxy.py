"""`secure ee proxy`: where programs reach an encrypted model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from secure.cli.audit import log_of
from secure.cli.ee.options import (
    API_KEY,
    BACKEND_API_KEY,
    AssumedTier,
    KeyOption,
    PassphraseOption,
    unlocked,
)
from secure.cli.lazy_imports import lazy_imports
from secure.cli.options import NamesOption, check_serving_is_installed, examples
from secure.http.api_keys import find_api_key

with lazy_imports(__name__):
    from secure.audit import canaries, mixing, running
    from secure.ee.client import budget, next_epoch
    from secure.ee.files import checkpoint, claims
    from secure.ee.http import proxy_receipts, serving

EXAMPLES = examples(
    "secure ee proxy encrypted --key model.key --backend grpc://server:7110 --certificates certs",
    "secure ee proxy encrypted --key model.key --backend http://127.0.0.1:8000",
    "OPENAI_BASE_URL=http://127.0.0.1:8080/v1 python program.py",
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
    name: NamesOption = None,
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
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="A web page that may use the proxy (CORS), such as https://chat.example. Default: none."),
    ] = None,
    on_budget: Annotated[
        Literal["refuse", "rekey"],
        typer.Option(
            help="When as many tokens have passed under the key as the claim allows: refuse requests; or rekey: DIR "
            "and the key get a new vocabulary beside them, which the backend must then serve."
        ),
    ] = "refuse",
    audit: Annotated[
        Path | None, typer.Option(metavar="CANARIES", help="Mix in canaries that secure ee audit prepare wrote.")
    ] = None,
    audit_rate: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="Which share of all requests are canaries.")
    ] = 0.05,
    receipts: Annotated[
        bool,
        typer.Option(
            "--receipts", help="Have the backend sign every answer: /v1/sessions/NUMBER/receipt has what it did."
        ),
    ] = False,
    parent_on_stdin: Annotated[bool, typer.Option("--parent-on-stdin", hidden=True)] = False,
) -> None:
    """Let programs that speak OpenAI's API use an encrypted model, by their base URL alone.

    Runs where the key is, until SIGTERM or Ctrl-C. Text is tokenised, encrypted and decrypted here; only encrypted ids
    go to the backend.
    """
    check_serving_is_installed()
    secret, passphrase = unlocked(key, passphrase_file)
    opened = checkpoint.open_checkpoint(folder, secret)
    tier = assume or opened.manifest.tier
    claim = claims.require(tier, opened.manifest.configuration)
    taken = proxy_receipts.ProxyReceipts() if receipts else None
    run = partial(
        serving.runner_at,
        backend,
        certificates=certificates,
        api_key=find_api_key(backend_api_key_file, BACKEND_API_KEY),
        model=backend_model,
        unchecked=unchecked_backend,
        take_receipt=None if taken is None else taken.take,
    )
    epochs = None
    if on_budget == "rekey":
        epochs = next_epoch.NextEpochs(opened, folder, tier, next_epoch.KeyFile(key, passphrase))
    serving.run_proxy(
        opened,
        budget.BudgetedRunner(opened, run, claim.tokens_limit, epochs),
        listen=listen,
        names=name or [folder.resolve().name],
        api_key=find_api_key(api_key_file, API_KEY),
        origins=allow_origin or [],
        audit=None if audit is None else mixed_in(audit, audit_rate),
        receipts=taken,
        parent_on_stdin=parent_on_stdin,
    )


def mixed_in(path: Path, rate: float) -> mixing.Audit:
    """The canaries of a file, noted in the log beside it, at that rate."""
    return mixing.Audit(canaries.Canaries.load(path), running.AuditLog(log_of(path, None)), rate)
