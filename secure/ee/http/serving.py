"""The processes round an encrypted checkpoint: the server, which has no key, and the client's proxy, which has.

They need the packages of the extra `serve`; `serve_commands` says so where they are missing.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx
import torch

from secure.audit.mixing import Audit
from secure.ee.client.budget import BudgetedRunner
from secure.ee.engine.server_engine import TransformersEngine
from secure.ee.files.checkpoint import OpenedCheckpoint
from secure.ee.http.audit_proxy import audit_proxy_app
from secure.ee.http.ids_server import ids_app
from secure.ee.http.proxy import proxy_app
from secure.ee.http.proxy_receipts import ProxyReceipts
from secure.ee.http.runner import HttpReceipts, HttpRunner
from secure.http.app import LOOPBACK
from secure.http.host import (
    HttpServer,
    authority_file,
    callers_names,
    check_exposure,
    check_origins,
    is_loopback,
    log_to_stderr,
    parsed,
    serve_until_stopped,
)
from secure.models.storage import system
from secure.parties.encrypted.client import GenerationClient
from secure.parties.encrypted.limits import Admission, GenerationLimits
from secure.parties.encrypted.receipts import TakeReceipt
from secure.parties.encrypted.runner import Runner
from secure.parties.encrypted.server import GenerationServer
from secure.parties.process.main import end_what_computes, stop_on_signals, wait_until_set
from secure.parties.transport.certificates.names import SERVER
from secure.parties.transport.certificates.own import LiveCertificates
from secure.parties.transport.certificates.trust import trust_of
from secure.parties.transport.signing import Signer
from secure.protocols.core.errors import ConfigurationError

_BACKEND_SECONDS = httpx.Timeout(10.0, read=None)
"""A prompt may take long until its first token; a connection must not."""

_LOG = logging.getLogger("secure.ee")


def run_server(
    folder: Path,
    *,
    certificates: Path | None,
    listen: str,
    http: str | None,
    https: str | None,
    api_key: str | None,
    device: str,
    threads: int | None,
    name: str | None,
    limits: GenerationLimits,
    parent_on_stdin: bool,
) -> None:
    """Serve until SIGTERM or SIGINT. Arguments as the options of `secure ee serve`.

    Raises ConfigurationError and CheckpointError before anything listens.
    """
    if certificates is None and http is None:
        raise ConfigurationError("name --certificates DIR to serve gRPC, or --http HOST:PORT, or both")
    if https is not None and certificates is None:
        raise ConfigurationError("--https needs --certificates DIR")
    if http is not None and not is_loopback(http):
        raise ConfigurationError(f"--http {http} could be reached by other machines; use --https for those")
    if https is not None:
        check_exposure(https, api_key, "--https")
    system.dump_no_core()
    log_to_stderr()
    stopping = stop_on_signals(parent_on_stdin)
    if threads is not None:
        torch.set_num_threads(threads)
    engine = TransformersEngine(folder, device, name)
    admission = Admission(engine.served, limits)
    signer = None if certificates is None else Signer(LiveCertificates(certificates, SERVER))
    with ExitStack() as running:
        if certificates is not None:
            party = GenerationServer(listen, certificates, engine, admission=admission)
            party.start()
            running.callback(party.stop)
        for address, tls, hosts in ((http, None, LOOPBACK), (https, certificates, ())):
            if address is not None:
                app = ids_app(engine, admission, api_key=api_key, hosts=hosts, signer=signer)
                server = HttpServer(app, address, tls)
                port = server.start()
                running.callback(server.stop)
                _LOG.info("%s on %s:%d", "HTTP" if tls is None else "HTTPS", parsed(address)[0], port)
        wait_until_set(stopping)
        _LOG.info("stopping")
    end_what_computes(admission.running)


def run_proxy(
    checkpoint: OpenedCheckpoint,
    runner: BudgetedRunner,
    *,
    listen: str,
    names: Sequence[str],
    api_key: str | None,
    origins: Sequence[str],
    audit: Audit | None = None,
    receipts: ProxyReceipts | None = None,
    parent_on_stdin: bool,
) -> None:
    """Serve until SIGTERM or SIGINT. audit, receipts: as for `proxy_app`, and so are the errors."""
    check_exposure(listen, api_key, "the proxy")
    check_origins(origins)
    hosts = callers_names(listen)
    app = proxy_app(
        checkpoint, runner, names, api_key=api_key, hosts=hosts, origins=origins, audit=audit, receipts=receipts
    )
    log_to_stderr()
    _LOG.info("budget: %s", runner.budget)
    serve_until_stopped(app, listen, "proxy", names, parent_on_stdin=parent_on_stdin)


def run_audit_proxy(
    url: str, audit: Audit, *, listen: str, api_key: str | None, backend_api_key: str | None, parent_on_stdin: bool
) -> None:
    """Serve until SIGTERM or SIGINT. Arguments and errors as for `audit_proxy_app`."""
    check_exposure(listen, api_key, "the proxy")
    hosts = callers_names(listen)
    app = audit_proxy_app(url, audit, backend_api_key=backend_api_key, api_key=api_key, hosts=hosts)
    log_to_stderr()
    serve_until_stopped(app, listen, "proxy", ["as the server calls them"], parent_on_stdin=parent_on_stdin)


def runner_at(
    url: str,
    checkpoint: OpenedCheckpoint,
    *,
    certificates: Path | None,
    api_key: str | None,
    model: str | None,
    unchecked: bool,
    take_receipt: TakeReceipt | None = None,
) -> Runner:
    """What runs the checkpoint at a URL. Raises ConfigurationError; nothing is connected yet.

    take_receipt: gets what the server signed of each call; None asks for no receipts.
    """
    scheme, separator, address = url.partition("://")
    if scheme == "grpc" and separator:
        if certificates is None:
            raise ConfigurationError("a grpc backend needs --certificates DIR (authority.crt, client.crt, client.key)")
        parsed(address)
        return GenerationClient(
            address,
            certificates,
            checkpoint.manifest.key_check,
            check_manifest=checkpoint.check_served,
            take_receipt=take_receipt,
        )
    if scheme not in ("http", "https") or not address:
        raise ConfigurationError(f"--backend {url}: expected grpc://HOST:PORT, https://HOST:PORT or http://HOST:PORT")
    parts = httpx.URL(url)
    if scheme == "http" and api_key is not None and parts.host not in LOOPBACK:
        raise ConfigurationError(f"--backend {url}: the API key would travel in clear; use https")
    if parts.userinfo or parts.query:
        raise ConfigurationError("--backend must not have a password or a query in it; use --backend-api-key-file")
    # Clients write .../v1, and so may people here.
    base = str(parts).rstrip("/").removesuffix("/v1")
    authority = None if certificates is None else authority_file(certificates)
    if authority is not None and not authority.is_file():
        raise ConfigurationError(f"{authority} is missing; make certificates with: secure ee certs --out DIR")
    connect = partial(
        httpx.Client,
        base_url=base,
        headers={} if api_key is None else {"authorization": f"Bearer {api_key}"},
        timeout=_BACKEND_SECONDS,
        # Made once: a context reads every authority of the system.
        verify=httpx.create_ssl_context(trust_env=False)
        if authority is None
        else ssl.create_default_context(cafile=str(authority)),
        # HTTP_PROXY and the like would have API key and ids pass through somebody else.
        trust_env=False,
    )
    receipts = None
    if take_receipt is not None:
        if authority is None:
            raise ConfigurationError("receipts need --certificates DIR: the server's key is checked by its authority")
        receipts = HttpReceipts(trust_of(authority.read_bytes()), take_receipt)
    return HttpRunner(connect, checkpoint, model, unchecked=unchecked, receipts=receipts)
