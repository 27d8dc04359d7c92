"""What is asked: a gateway and parties that this process starts, such parties without a gateway, or one that runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from bench.load import gateway_process
from bench.load.figures import Taken
from bench.network import parties_on
from secure.api import PrivateModel
from secure.connection import Parties
from secure.demo.sample import DOCUMENTS
from secure.gateway.ledger import SessionLedger
from secure.models.storage import system
from secure.parties.client.client import Client
from secure.protocols.core.errors import ConfigurationError
from secure.tokens import required

Ask = Callable[[int], object]
WAIT_SECONDS = 600.0
_LINK, _SESSIONS, _ROWS = "secure_gateway_link_bytes", "secure_gateway_sessions", "secure_gateway_rows"


@dataclass(frozen=True)
class Target:
    """What requests go to. asks: by kind, how to ask with one text; `number` chooses it. processes: by name, with
    "clients" for this one. exposition: by kind, Prometheus' text of the sessions. network: what is to be said of it."""

    asks: Mapping[str, Ask]
    processes: Mapping[str, int]
    exposition: Callable[[str], str]
    network: dict[str, Any] = field(default_factory=dict)

    def taken(self, kind: str) -> Taken:
        """What was taken so far."""
        links: dict[str, float] = {}
        counts = {_SESSIONS: 0.0, _ROWS: 0.0}
        for family in text_string_to_metric_families(self.exposition(kind)):
            for sample in family.samples:
                if not sample.name.endswith("_total"):
                    continue
                if family.name == _LINK:
                    links[f"{sample.labels['sender']} to {sample.labels['receiver']}"] = sample.value
                elif family.name in counts:
                    counts[family.name] += sample.value
        return Taken(
            {name: system.processor_seconds(number) for name, number in self.processes.items()},
            links,
            {name: system.peak_memory_bytes(number) for name, number in self.processes.items()},
            counts[_SESSIONS],
            counts[_ROWS],
        )


def difference(after: Taken, before: Taken) -> Taken:
    """What was taken between two moments."""
    return Taken(
        {name: value - before.cpu_seconds[name] for name, value in after.cpu_seconds.items()},
        {name: value - before.link_bytes.get(name, 0.0) for name, value in after.link_bytes.items()},
        after.memory_bytes,
        after.sessions - before.sessions,
        after.rows - before.rows,
    )


@contextmanager
def gateway_here(folder: Path, network: str, scratch: Path) -> Iterator[Target]:
    """Parties, and beside them a gateway with and without putting texts together. folder: a checkpoint that embeds."""
    with ExitStack() as ending:
        running = ending.enter_context(parties_on(network, scratch))
        command = [sys.executable, "-m", gateway_process.__name__, str(running.launcher.config), str(folder)]
        process = ending.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        assert process.stdin is not None and process.stdout is not None
        ending.callback(process.stdin.close)
        line = process.stdout.readline()
        if not line:
            raise ConfigurationError("the gateway did not start; what it says above tells why")
        urls = {kind: f"http://127.0.0.1:{port}" for kind, port in json.loads(line).items()}
        client = ending.enter_context(_client({}))
        yield Target(
            {kind: _posting(client, f"{url}/v1", gateway_process.NAME) for kind, url in urls.items()},
            {**running.launcher.process_ids, "gateway": process.pid, "clients": os.getpid()},
            lambda kind: client.get(f"{urls[kind]}/metrics").raise_for_status().text,
            running.label,
        )


@contextmanager
def parties_here(folder: Path, network: str, scratch: Path) -> Iterator[Target]:
    """Parties, which every client asks by a session of its own; the clients are in this process."""
    with parties_on(network, scratch) as running, Parties(Client(running.launcher.settings)) as parties:
        model = PrivateModel.from_pretrained(folder, parties=parties, head=False, progress=False)
        ledger, tokenizer = SessionLedger(), required(model.tokenizer)
        model.heed_reports(ledger.heed)

        def ask(number: int) -> None:
            with ledger.session({"anybody"}, 1):
                model.embed([tokenizer(_text(number))["input_ids"]], progress=False)

        processes = {**running.launcher.process_ids, "clients": os.getpid()}
        yield Target({"alone": ask}, processes, lambda kind: ledger.exposition().decode(), running.label)


@contextmanager
def gateway_at(url: str, model: str, key: str | None) -> Iterator[Target]:
    """A gateway that runs, with /v1 in its url. Its figures are read where the key may; its processes are not seen."""
    with _client({} if key is None else {"authorization": f"Bearer {key}"}) as client:

        def exposition(kind: str) -> str:
            answer = client.get(f"{url.removesuffix('/v1')}/metrics")
            return answer.text if answer.status_code == httpx.codes.OK else ""

        label = {"name": "not known"}
        yield Target({"as it is": _posting(client, url, model)}, {"clients": os.getpid()}, exposition, label)


def _client(headers: Mapping[str, str]) -> httpx.Client:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    return httpx.Client(headers=dict(headers), limits=limits, timeout=WAIT_SECONDS, trust_env=False)


def _posting(client: httpx.Client, url: str, model: str) -> Ask:
    def ask(number: int) -> None:
        client.post(f"{url}/embeddings", json={"model": model, "input": _text(number)}).raise_for_status()

    return ask


def _text(number: int) -> str:
    return DOCUMENTS[number % len(DOCUMENTS)]
