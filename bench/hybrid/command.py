"""`python -m bench hybrid`: what protocol "hybrid" takes of a processor.

Both parties are threads of this process. Seconds are those that each thread computed, so that they mean something on a
machine that does other things, too.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import torch
import typer
from torch import Tensor

from bench import results
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


def measured(program: Program, shares: Sequence[tuple[Tensor, Tensor]], garbler: Garbler, turns: int) -> dict[str, Any]:
    """Seconds computed, bytes sent and bytes kept of makings and their uses; a first turn, the warm-up, is left out."""
    makings, uses, kept = [], [], [0, 0]
    for number in range(turns + 1):
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
            makings.append(made)
            uses.append(used)
    return {"made": summary(makings), "used": summary(uses), "kept_bytes": kept}


def summary(passes: Sequence[Pass]) -> dict[str, Any]:
    """Each party's seconds, all turns' and their median; bytes and rounds, which are the same in every turn."""
    turns = [[seconds for _, seconds in done.results] for done in passes]
    *_, last = passes
    return {
        "seconds": [[round(seconds, 4) for seconds in turn] for turn in turns],
        "median_seconds": [round(statistics.median(each), 4) for each in zip(*turns, strict=True)],
        "sent_bytes": [meter.total.online_bytes for meter in last.meters],
        "rounds": last.meters[0].total.rounds,
    }


def of_relus(garbler: Garbler, turns: int) -> dict[str, Any]:
    """ReLU alone, of as many numbers as `_RELUS`; nothing is revealed."""

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> None:
        relu(protocol.input(shares[0], (_RELUS,), 16))

    return {"relus": _RELUS, **measured(program, [split(encode(torch.randn(_RELUS).double()))], garbler, turns)}


def of_linear(garbler: Garbler, turns: int) -> dict[str, Any]:
    """A layer of 768 x 768 for 64 requests of 128 tokens."""
    w = encode((0.05 * torch.randn(_WIDTH, _WIDTH)).double())
    parameter = Parameter((_WIDTH, _WIDTH), 16, opened=True)
    prepared = [HybridLoader(index, POLICY).prepare(parameter, w, Visibility.SERVER) for index in (0, 1)]

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> None:
        assert isinstance(protocol, HybridMaker | HybridParty)
        linear(protocol.input(shares[0], (_ROWS, _WIDTH), 16), prepared[protocol.role.index], None)

    found = measured(program, [split(encode(torch.randn(_ROWS, _WIDTH).double()))], garbler, turns)
    return {"rows": _ROWS, "width": _WIDTH, **found}


def of_resnet(garbler: Garbler, turns: int) -> dict[str, Any]:
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

    return measured(program, [split(encode(torch.randn(1, 3, 32, 32).double()))], garbler, turns)


KINDS = {"relu": of_relus, "linear": of_linear, "resnet20": of_resnet}


def hybrid(
    what: Annotated[Literal["relu", "linear", "resnet20"], typer.Argument(help="a gate, a layer, or a network")],
    garbler: Annotated[Garbler, typer.Option(help="which party garbles")] = "client",
    turns: Annotated[int, typer.Option(min=1, help="makings and uses after the warm-up")] = 3,
) -> None:
    """What protocol "hybrid" takes of a processor, by party and phase; written to bench/results.

    Run it with OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1.

    Example: python -m bench hybrid relu
    """
    results.commit()  # files may change while it goes on
    torch.set_num_threads(1)
    load_before = os.getloadavg()[0]
    record = {"kind": "hybrid", "what": what, "garbler": garbler, "turns": turns, "load_average": load_before}
    written = results.save(f"hybrid-{what}-{garbler}", record | KINDS[what](garbler, turns))
    print(f"written to bench/results/{written.name}")
