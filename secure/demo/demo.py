"""A small private semantic search, side by side with the same search in the clear."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import Tensor
from transformers import AutoModel
from transformers.utils import logging as transformers_logging

from secure.api import PrivateModel
from secure.connection import Parties, SessionClient, launch
from secure.demo.sample import DOCUMENTS, MODEL_NAME
from secure.demo.uniformity import uniformity
from secure.models.contract.manifest import Manifest
from secure.models.contract.request import Request
from secure.models.program import network
from secure.parties.client.client import Prediction
from secure.parties.client.run import Progress
from secure.protocols.core.errors import CheckpointError
from secure.protocols.core.prg import SEED_BYTES
from secure.protocols.families import family
from secure.protocols.masked.sharing.two_parts import pack_shares
from secure.tokens import load_tokenizer, pad, tokenize

LEAST_COSINE = 0.999
_SHOWN_BYTES = 8
_SHOWN_CHARACTERS = 36
_COUNTS = {3: "three", 4: "four"}
_SEEDS = {SEED_BYTES: "a seed", 2 * SEED_BYTES: "two seeds"}


@dataclass
class Message:
    """What the client sent for one prediction, as the computing parties received it."""

    request: Request
    payloads: tuple[bytes, ...]


class Recorder:
    """A client that keeps its last message to the computing parties, for the demo to look at."""

    def __init__(self, client: SessionClient) -> None:
        self._client = client
        self.last: Message | None = None
        self.load_model = client.load_model
        self.converse = client.converse
        self.unload_model = client.unload_model
        self.close = client.close
        self.from_stock = client.from_stock

    def predict(
        self,
        model_digest: str,
        policy_digest: str,
        request: Request,
        payloads: tuple[bytes, ...],
        progress: Callable[[Progress], None] | None = None,
    ) -> Prediction:
        self.last = Message(request, payloads)
        return self._client.predict(model_digest, policy_digest, request, payloads, progress)


def run_demo(
    folder: Path, query: str, console: Console, *, protocol: str = "beaver", progress: bool | None = None
) -> bool:
    """Search DOCUMENTS for `query`, privately and in the clear. True when the two agree.

    protocol: one with a dealer, whose parties are started.

    Raises InputError for a query that cannot be encoded, CheckpointError and SessionError and its kinds.
    """
    plain = PlainModel(folder)
    expected = plain.encode([query])  # an impossible query fails here, before processes start
    used = family(protocol)
    computing, count = _listed(used.computing), _COUNTS[len(used.roles)]
    console.print(f"[bold]Private semantic search[/bold] with {MODEL_NAME}: {_listed(used.roles)}, {count} processes")
    clock = _Clock(console)
    with launch(protocol=protocol) as started:
        recorder = Recorder(started.client)
        parties = Parties(recorder, protocol=protocol)
        clock.lap(f"{count} processes started, with fresh certificates")
        model = PrivateModel.from_pretrained(folder, parties=parties, progress=progress)
        clock.lap(f"weights split into shares, uploaded, and loaded by {computing}")
        documents = model.encode(DOCUMENTS, progress=progress)
        clock.lap(f"{len(DOCUMENTS)} documents embedded privately")
        found = model.encode([query], progress=progress)
        clock.lap("query embedded privately")
    expected = torch.cat([expected, plain.encode(DOCUMENTS)])
    private = torch.cat([found, documents])
    console.print(_scores(query, private, expected))
    agrees = _accuracy(private, expected, console)
    assert recorder.last is not None
    _views(model.manifest, recorder.last, plain.tokens([query]), console)
    received = model.report.roles["dealer"].bytes_received
    others = _listed(("the client", *used.computing))
    console.print(f"The dealer received {sum(received.values())} bytes from {others} together.")
    console.print("\n[bold]What the query cost[/bold]")
    console.print(model.report)
    console.print(
        f"These seconds are of {count} processes that share this machine's cores, over loopback. As many hosts on a "
        "real network have more cores, and every round waits for the network."
    )
    return agrees


class PlainModel:
    """The model in the clear, computed by transformers at the client."""

    def __init__(self, folder: Path) -> None:
        """Raises CheckpointError when the folder has no tokenizer."""
        tokenizer = load_tokenizer(folder)
        if tokenizer is None:
            raise CheckpointError(f"{folder} has no tokenizer")
        transformers_logging.disable_progress_bar()
        self._tokenizer = tokenizer
        self._model = AutoModel.from_pretrained(folder, local_files_only=True).eval()

    def tokens(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids and mask. Shapes: int64 [B, T]. Raises InputError, as for a private encoding."""
        config = self._model.config
        ids = tokenize(
            self._tokenizer,
            sentences,
            limit=config.max_position_embeddings,
            vocabulary=config.vocab_size,
            truncate=False,
        )
        return pad(ids, self._tokenizer.pad_token_id or 0)

    def encode(self, sentences: Sequence[str]) -> Tensor:
        """Mean over tokens, of length 1. Shapes: float32 [B, D]."""
        input_ids, mask = self.tokens(sentences)
        with torch.inference_mode():
            hidden = self._model(input_ids=input_ids, attention_mask=mask).last_hidden_state
        return torch.nn.functional.normalize((hidden * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True), dim=1)


class _Clock:
    """Prints how long each step took."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = time.monotonic()

    def lap(self, step: str) -> None:
        now = time.monotonic()
        self._console.print(f"  {now - self._last:6.2f} s  {step}")
        self._last = now


def _scores(query: str, private: Tensor, expected: Tensor) -> Table:
    """Documents by private score. Row 0 of the embeddings is the query."""
    ours, theirs = private[1:] @ private[0], expected[1:] @ expected[0]
    table = Table(title=f"\nQuery: {escape(query)}", title_justify="left", title_style="bold", box=box.SIMPLE)
    for name in ("private", "in clear", "difference"):
        table.add_column(name, justify="right", no_wrap=True, min_width=len("difference"))
    table.add_column("document")
    for i in ours.argsort(descending=True).tolist():
        difference = float(ours[i] - theirs[i])
        table.add_row(f"{ours[i]:.5f}", f"{theirs[i]:.5f}", f"{difference:+.1e}", escape(_shortened(DOCUMENTS[i])))
    return table


def _shortened(document: str) -> str:
    return textwrap.shorten(document, _SHOWN_CHARACTERS, placeholder=" …")


def _accuracy(private: Tensor, expected: Tensor, console: Console) -> bool:
    cosine = float(torch.nn.functional.cosine_similarity(private.double(), expected.double()).min())
    difference = float((private - expected).abs().max())
    score = float((private[1:] @ private[0] - expected[1:] @ expected[0]).abs().max())
    agrees = cosine >= LEAST_COSINE
    console.print(
        f"Largest difference: {score:.1e} of a score, {difference:.1e} of an embedding's entry. "
        f"Lowest cosine between a private embedding and its plain one: {cosine:.7f} "
        f"({'at least' if agrees else '[red]below[/red]'} {LEAST_COSINE})."
    )
    return agrees


def _views(manifest: Manifest, message: Message, tokens: tuple[Tensor, Tensor], console: Console) -> None:
    """What the computing parties received of the query, and whether it looks uniform."""
    net, used = network(manifest), family(manifest.protocol)
    specs = net.input_specs(message.request, 0)
    inputs = {"input_ids": tokens[0], "attention_mask": tokens[1]}
    plain = pack_shares(net.client_inputs(message.request, inputs, {}, specs), specs)
    everybody = _listed(used.computing)
    table = Table(
        title=f"\nWhat {everybody} received of the query", title_justify="left", title_style="bold", box=box.SIMPLE
    )
    for name in ("", "bytes", f"the first {_SHOWN_BYTES}", "chi-square", "p-value"):
        table.add_column(name, justify="right" if name in ("bytes", "chi-square", "p-value") else "left", no_wrap=True)
    tested = []
    for index, (role, payload) in enumerate(zip(used.computing, message.payloads, strict=True)):
        seeds = _SEEDS.get(len(payload))
        if seeds is None:
            tested.append((f"{role.upper()}: corrections", payload))
            continue
        # Half of a seed: with all of them, a copy of this screen and another party's message would give the query away.
        table.add_row(f"{role.upper()}: {seeds}", f"{len(payload)}", payload[:_SHOWN_BYTES].hex(" "), "", "")
        expanded = used.pack_shares(used.open_payload(index, payload, specs), specs)
        tested.append((f"expanded by {role.upper()}", expanded))
    for name, data in (*tested, ("in the clear", plain)):
        test = uniformity(data)
        p_value = f"{test.p_value:.3f}" if test.p_value >= 1e-3 else "< 0.001"
        table.add_row(name, f"{test.count}", data[:_SHOWN_BYTES].hex(" "), f"{test.chi_square:.1f}", p_value)
    console.print(table)
    console.print(
        "Chi-square over the 256 values of a byte: about 255 ± 23 for uniform bytes, whose p-value is as often small "
        f"as large. {everybody} each hold {'two of three parts' if used.parts else 'one of two parts'}; only the sum "
        "of all parts is the query. These are the client's messages; what the parties send each other later is put to "
        "the same test in this project's tests."
    )


def _listed(names: Sequence[str]) -> str:
    """Roles, in words."""
    shown = ["the dealer" if name == "dealer" else name.upper() if len(name) == 2 else name for name in names]
    return f"{', '.join(shown[:-1])} and {shown[-1]}"
