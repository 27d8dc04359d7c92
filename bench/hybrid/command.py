"""`python -m bench hybrid`: what protocol "hybrid" takes of a processor.

Both parties are threads of this process. Seconds are those that each thread computed, so that they mean something on a
machine that does other things, too.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import torch
import typer
from torch import Tensor

from secure.models.program import load, network
from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import Meter
from secure.protocols.core.primitives import linear
from secure.protocols.core.secret import Parameter, Protocol, Visibility
from secure.protocols.functions.relu import relu
from secure.protocols.hybrid.garbled.circuits import Garbler
from secure.protocols.hybrid.protocol import HybridLoader, HybridMaker, HybridParty, fresh_stock
from tests.in_process import POLICY, encode, split
from tests.protocols.hybrid.networks import ResNet, captured
from tests.protocols.hybrid.two_parties import Pass, both

Program = Callable[[Protocol, Sequence[Tensor | None]], Tensor | None]
_RELUS = 1 << 15
_ROWS, _WIDTH = 8192, 768  # 64 requests of 128 tokens


def measured(program: Program, shares: Sequence[tuple[Tensor, Tensor]], garbler: Garbler) -> dict[str, Any]:
    """Seconds computed, bytes sent and bytes kept of a making and its use; the program's warm-up is not among them."""
    for number in range(2):
        session = os.urandom(16)

        def make(index: int, channel: Channel, meter: Meter, session: bytes = session) -> tuple[Any, float]:
            stock = fresh_stock(index, session, garbler)
            protocol = HybridMaker(stock, channel, POLICY, meter=meter)
            start = time.thread_time()
            program(protocol, [None] * len(shares))
            return stock, time.thread_time() - start

        made = both(make, timeout_seconds=3600)
        stocks = [stock for stock, _ in made.results]
        kept = [stock.size_bytes for stock in stocks]

        def use(index: int, channel: Channel, meter: Meter, stocks: Sequence[Any] = stocks) -> tuple[None, float]:
            protocol = HybridParty(stocks[index], channel, POLICY, meter=meter)
            start = time.thread_time()
            program(protocol, [pair[index] for pair in shares])
            return None, time.thread_time() - start

        used = both(use, timeout_seconds=3600)
        if number:
            return {"made": summary(made), "used": summary(used), "kept_bytes": kept}
    raise AssertionError


def summary(done: Pass) -> dict[str, Any]:
    """By party."""
    return {
        "seconds": [round(seconds, 4) for _, seconds in done.results],
        "sent_bytes": [meter.total.online_bytes for meter in done.meters],
        "rounds": done.meters[0].total.rounds,
    }


def of_relus(garbler: Garbler) -> dict[str, Any]:
    """ReLU alone, of as many numbers as `_RELUS`; nothing is revealed."""

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> None:
        relu(protocol.input(shares[0], (_RELUS,), 16))

    return {"relus": _RELUS, **measured(program, [split(encode(torch.randn(_RELUS).double()))], garbler)}


def of_linear(garbler: Garbler) -> dict[str, Any]:
    """A layer of 768 x 768 for 64 requests of 128 tokens."""
    w = encode((0.05 * torch.randn(_WIDTH, _WIDTH)).double())
    parameter = Parameter((_WIDTH, _WIDTH), 16, opened=True)
    prepared = [HybridLoader(index, POLICY).prepare(parameter, w, Visibility.SERVER) for index in (0, 1)]

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> None:
        assert isinstance(protocol, HybridMaker | HybridParty)
        linear(protocol.input(shares[0], (_ROWS, _WIDTH), 16), prepared[protocol.role.index], None)

    found = measured(program, [split(encode(torch.randn(_ROWS, _WIDTH).double()))], garbler)
    return {"rows": _ROWS, "width": _WIDTH, **found}


def of_resnet(garbler: Garbler) -> dict[str, Any]:
    """ResNet-20 for one image of 32 x 32, with random weights."""
    _, checkpoint = captured(ResNet(3), torch.randn(1, 3, 32, 32))
    net = network(checkpoint.manifest)
    request = net.request("hidden", {"image": torch.zeros(1, 3, 32, 32)})
    models = [
        load(HybridLoader(i, POLICY), checkpoint.manifest, checkpoint.tensors if i else None).weights for i in (0, 1)
    ]

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> None:
        assert isinstance(protocol, HybridMaker | HybridParty)
        image = protocol.input(shares[0], (1, 3, 32, 32), 16)
        outputs, _ = net.forward(protocol, models[protocol.role.index], request, {"image": image})
        protocol.reveal(*outputs.values())

    return measured(program, [split(encode(torch.randn(1, 3, 32, 32).double()))], garbler)


KINDS = {"relu": of_relus, "linear": of_linear, "resnet20": of_resnet}


def hybrid(
    kind: Annotated[Literal["relu", "linear", "resnet20"], typer.Argument(help="a gate, a layer, or a network")],
    garbler: Annotated[Garbler, typer.Option(help="which party garbles")] = "client",
) -> None:
    """What protocol "hybrid" takes of a processor, by party and phase; one JSON line is printed.

    Run it with OPENBLAS_NUM_THREADS=1.

    Example: python -m bench hybrid relu
    """
    load_before = os.getloadavg()[0]
    print(json.dumps({"kind": f"hybrid {kind}", "garbler": garbler, "load": load_before, **KINDS[kind](garbler)}))
