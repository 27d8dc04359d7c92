"""Runs of each kind in turn, closed and open, and how soon a busy party says so."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from bench.load.figures import Prices, code, figures, percentile, spread
from bench.load.sending import Sent, at_times, back_to_back
from bench.load.settings import write_settings
from bench.load.targets import Target, difference
from bench.private_inference.arrivals import poisson
from secure.api import PrivateModel
from secure.connection import Parties
from secure.parties.client.client import Client
from secure.parties.launcher import launch
from secure.protocols.core.errors import ServerBusy

Loop = Literal["open", "closed", "both"]
Say = Callable[[str], None]
GATEWAY_TARGETS = {8: (1.9, 0.6), 32: (2.6, None)}
"""Callers → how many times the rate of texts alone it should be together, and of the 95th percentile at most."""
BUSY_SECONDS = 0.05
"""Within that a party that is busy should say so."""


@dataclass(frozen=True)
class Plan:
    """What is run. seconds: of each run. rate: arrivals a second of open loops; None takes `utilisation` times what
    the first kind answered in its closed loops. repeats: runs of each kind, in turn."""

    clients: Sequence[int]
    seconds: float
    repeats: int
    loop: Loop
    rate: float | None
    utilisation: float


def measure(target: Target, plan: Plan, prices: Prices, say: Say) -> list[dict[str, Any]]:
    """A row for each number of clients. Raises ConfigurationError where too few were answered in time."""
    for ask in target.asks.values():
        ask(0)
    return [_row(target, clients, plan, prices, say) for clients in plan.clients]


def _row(target: Target, clients: int, plan: Plan, prices: Prices, say: Say) -> dict[str, Any]:
    row: dict[str, Any] = {"clients": clients, "load_average": os.getloadavg()[0]}
    if plan.loop != "open" or plan.rate is None:
        say(f"{clients} clients, each again when it has an answer")

        def again(ask: Callable[[int], object], turn: int) -> Sent:
            return back_to_back(clients, plan.seconds, ask)

        row["closed"] = _turns(target, plan, prices, again, plan.seconds)
        row |= _compared(clients, row["closed"])
    if plan.loop != "closed":
        first = next(iter(target.asks))
        rate = plan.rate or plan.utilisation * row["closed"][first]["rate"]["median"]
        count = max(2, round(rate * plan.seconds))
        say(f"{clients} clients, {rate:.2f} requests arrive a second")

        def arriving(ask: Callable[[int], object], turn: int) -> Sent:
            """The same arrivals for every kind, others for each turn."""
            return at_times(list(poisson(rate, count)(np.random.default_rng(turn))), clients, ask)

        row["open_rate"] = rate
        row["open"] = _turns(target, plan, prices, arriving, None)
    return row


def _turns(
    target: Target,
    plan: Plan,
    prices: Prices,
    send: Callable[[Callable[[int], object], int], Sent],
    seconds: float | None,
) -> dict[str, Any]:
    """Every kind, one after another, in each turn. seconds: that rates are of; None: until the last answer came."""
    found: dict[str, list[Any]] = {kind: [] for kind in target.asks}
    for turn in range(plan.repeats):
        for kind, ask in target.asks.items():
            before = target.taken(kind)
            sent = send(ask, turn)
            taken = difference(target.taken(kind), before)
            found[kind].append((sent, seconds or sent.seconds, taken))
    return {kind: figures(runs, prices) for kind, runs in found.items()}


def _compared(clients: int, closed: dict[str, Any]) -> dict[str, Any]:
    """Together beside alone, and whether that is what is aimed at."""
    if set(closed) != {"alone", "together"}:
        return {}
    alone, together = closed["alone"], closed["together"]
    times = {
        "rate": round(together["rate"]["median"] / alone["rate"]["median"], 3),
        "p95": round(together["seconds"]["p95"]["all"] / alone["seconds"]["p95"]["all"], 3),
    }
    if clients not in GATEWAY_TARGETS:
        return {"times": times}
    rate, p95 = GATEWAY_TARGETS[clients]
    return {"times": times, "within": times["rate"] >= rate and (p95 is None or times["p95"] <= p95)}


def measure_busy(folder: Path, scratch: Path, asks: int) -> dict[str, Any]:
    """How soon p0 refuses a session while its only place is taken and its queue has no room.

    folder: a checkpoint that embeds. Raises AssertionError where a session is not refused.
    """
    limits = "[limits]\nsessions = 1\nqueue = 0\nbusy_seconds = 0.0\n"
    with launch(write_settings(scratch, more=limits)) as running, Parties(Client(running.settings)) as parties:
        model = PrivateModel.from_pretrained(folder, parties=parties, head=False, progress=False)
        ids = torch.tensor([[1, 2, 3]])
        request = model.network.request("embedding", {"input_ids": ids, "attention_mask": torch.ones_like(ids)})
        digests = model.manifest.digest, model.manifest.policy.digest()
        seconds, refusals = [], []
        with parties.client.converse(*digests, request, 1):
            for _ in range(asks + 1):
                began = time.perf_counter()
                try:
                    with parties.client.converse(*digests, request, 1):
                        raise AssertionError("a session was not refused")
                except ServerBusy as busy:
                    seconds.append(time.perf_counter() - began)
                    refusals.append(busy)
        seconds = seconds[1:]  # the first one warms up
    return {
        "asks": asks,
        "error": code(refusals[0]),
        "retry_after": all(busy.retry_after_seconds is not None for busy in refusals),
        "seconds": {**spread(seconds), "p95": percentile(seconds, 95)},
        "within": percentile(seconds, 95) <= BUSY_SECONDS,
    }
