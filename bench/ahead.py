"""What a party's own work ahead takes and saves: one model's roles in this process, from one tape, taken in turns.

`python -m bench.ahead bert-base 128` prints a line for each turn and the medians. There is no network, and the dealer
has finished before: what is left is what p0 and p1 compute, at the same time, as seconds and as processor seconds.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import torch

from bench.measure import Setting, Workload, prepare
from secure.models import program
from secure.models.checkpoint.conversion import read_share
from secure.models.contract.exchange import input_payloads
from secure.models.contract.manifest import WeightVisibility
from secure.protocols.beaver.ahead import BeaverAhead
from secure.protocols.beaver.protocol import BeaverDealer, BeaverParty
from secure.protocols.core.channel import Channel, Payload, queue_channels
from secure.protocols.core.cost import Meter
from secure.protocols.core.factor import Keep, prepare_apart
from secure.protocols.core.factor import prepare as prepare_together
from secure.protocols.core.secret import Protocol
from secure.protocols.masked.ahead import Ahead

_TURNS = 5
T = TypeVar("T")


class Tape(Channel):
    """What the dealer has sent, and its other end."""

    peer = "dealer"

    def __init__(self, messages: list[bytes] | None = None) -> None:
        self.messages = [] if messages is None else messages
        self._next = 0

    def send(self, payload: Payload) -> None:
        self.messages.append(bytes(payload))

    def receive(self) -> memoryview:
        self._next += 1
        return memoryview(self.messages[self._next - 1])


class OneInput(program.ClientSteps):
    """The client of one step, who drops its answer."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload

    def receive(self, step: int) -> bytes:
        return self._payload

    def send(self, payload: bytes) -> None:
        pass


@dataclass(frozen=True)
class Turn:
    """One session: seconds until both parties have ended, and the processor seconds of p0 and p1."""

    seconds: float
    processor_seconds: tuple[float, ...]
    linear_seconds: tuple[float, ...]


class Roles:
    """Three roles with a model, and a deal that is used again and again: no one outside ever sees what it masks."""

    def __init__(self, workload: Workload, keep: Keep) -> None:
        self._work = workload
        self._policy = workload.manifest.policy
        self._seeds, self._session = (os.urandom(16), os.urandom(16)), os.urandom(16)
        self._payloads = input_payloads(
            program.network(workload.manifest),
            workload.request,
            {"input_ids": workload.ids},
            workload.checkpoint.embeddings,
        )
        tape, load = Tape(), os.urandom(16)
        dealer = BeaverDealer(self._seeds, load, tape, self._policy)
        of_dealer = program.load(dealer, workload.manifest, None, keep)
        p0, p1 = queue_channels("p0", "p1", timeout_seconds=600.0)

        def of_party(index: int) -> program.LoadedModel:
            end, dealt = (p0, p1)[index], tape if index else None
            protocol = BeaverParty(index, self._seeds[index], load, end, dealt, self._policy)
            shares = read_share(workload.shares[f"p{index}"], workload.manifest, f"p{index}")
            return program.load(protocol, workload.manifest, shares, keep)

        self._models = _at_once(of_party)
        self.tape: list[bytes] = []
        dealer = BeaverDealer(self._seeds, self._session, Tape(self.tape), self._policy)
        self._serve(dealer, of_dealer, program.Nobody(), None)

    def _serve(
        self, protocol: Protocol, model: program.LoadedModel, client: program.ClientSteps, index: int | None
    ) -> None:
        with torch.inference_mode():
            program.serve(protocol, model, self._work.request, client, index)
        protocol.finish()

    def work_ahead(self, index: int) -> tuple[Ahead, float]:
        """One party's, and its processor seconds."""
        dealt = Tape(self.tape) if index else None
        party, began = BeaverAhead(index, self._seeds[index], self._session, dealt, self._policy), time.thread_time()
        self._serve(party, self._models[index], program.Nobody(), None)
        return party.made, time.thread_time() - began

    def session(self, ahead: Sequence[Ahead | None]) -> Turn:
        """One session of both parties."""
        p0, p1 = queue_channels("p0", "p1", timeout_seconds=600.0)
        meters = Meter(), Meter()

        def of_party(index: int) -> float:
            end, dealt, began = (p0, p1)[index], Tape(self.tape) if index else None, time.thread_time()
            party = BeaverParty(
                *(index, self._seeds[index], self._session, end, dealt, self._policy),
                meter=meters[index],
                ahead=ahead[index],
            )
            self._serve(party, self._models[index], OneInput(self._payloads[index]), index)
            return time.thread_time() - began

        began = time.perf_counter()
        processor = _at_once(of_party)
        linear = (
            sum(row.seconds for (_, op), row in meter.rows.items() if op.startswith("linear")) for meter in meters
        )
        return Turn(time.perf_counter() - began, tuple(processor), tuple(linear))


def _at_once(of_party: Callable[[int], T]) -> list[T]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(of_party, range(2)))


def main(model: str, tokens: int, weights: WeightVisibility, turns: int) -> None:
    """Measure, and print."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        workload = prepare(Setting(model, tokens, 1, weights, None, turns), Path(name))
        together, apart = Roles(workload, prepare_together), Roles(workload, prepare_apart)
        found: dict[str, list[Turn]] = {"live": [], "apart": [], "ahead": []}
        made: list[tuple[float, ...]] = []
        for turn in range(turns + 1):
            halves = [apart.work_ahead(index) for index in range(2)]
            size = sum(each.size_bytes for each, _ in halves) // 2
            runs = {
                "live": together.session([None, None]),
                "apart": apart.session([None, None]),
                "ahead": apart.session([each for each, _ in halves]),
            }
            if turn:  # the first one warms up
                made.append(tuple(seconds for _, seconds in halves))
                for kind, run in runs.items():
                    found[kind].append(run)
            print(turn, {kind: round(run.seconds, 3) for kind, run in runs.items()}, flush=True)
    print(f"{model} 1x{tokens} {weights}: medians of {turns} turns; {size / 1e6:.1f} MB are kept at a party")
    each = [round(statistics.median(values), 3) for values in zip(*made, strict=True)]
    print(f"  ahead of the input: {each} processor s at p0, p1")
    for kind, of_kind in found.items():
        seconds = statistics.median(run.seconds for run in of_kind)
        each = [statistics.median(values) for values in zip(*(run.processor_seconds for run in of_kind), strict=True)]
        linear = [statistics.median(values) for values in zip(*(run.linear_seconds for run in of_kind), strict=True)]
        print(
            f"  {kind}: {seconds:.3f} s; processor s at p0, p1: {[round(value, 3) for value in each]}; "
            f"linear layers: {[round(value, 3) for value in linear]} s"
        )


if __name__ == "__main__":
    model_name, token_count, *rest = sys.argv[1:]
    visibility = cast(WeightVisibility, rest[0] if rest else "private")
    main(model_name, int(token_count), visibility, int(rest[1]) if len(rest) > 1 else _TURNS)
