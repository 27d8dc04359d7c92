"""A stock serves one session, whatever becomes of it, and nothing of it is at hand afterwards."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("tenseal")

from secure.protocols.core.channel import Channel, FaultyChannel, queue_channels
from secure.protocols.core.cost import Meter
from secure.protocols.core.errors import BoundError, ConfigurationError, PartyLost, ProtocolError, SecureInferenceError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.secret import Parameter, Protocol, Visibility
from secure.protocols.functions.gelu import gelu
from secure.protocols.functions.relu import relu
from secure.protocols.hybrid.protocol import HybridLoader, HybridMaker, HybridParty, fresh_stock
from secure.protocols.hybrid.stock import Stock
from secure.protocols.masked.gates.decompose import decompose
from tests.in_process import EXACT, POLICY, encode, split
from tests.protocols.hybrid.two_parties import both, make, use

SHAPE = (9,)


def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
    return protocol.reveal(relu(protocol.input(shares[0], SHAPE, 16)))


def longer(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
    return protocol.reveal(relu(relu(protocol.input(shares[0], SHAPE, 16))))


@pytest.fixture(scope="module")
def shares() -> list[tuple[Tensor, Tensor]]:
    return [split(encode(torch.linspace(-4, 4, SHAPE[0]).double()))]


def test_a_second_session_is_refused(shares: list[tuple[Tensor, Tensor]]) -> None:
    stocks, _ = make(program, 1)
    use(program, stocks, shares)
    assert all(stock.size_bytes == 0 for stock in stocks)
    with pytest.raises(ProtocolError, match="begun before"):
        use(program, stocks, shares)


def test_a_session_that_failed_has_used_it(shares: list[tuple[Tensor, Tensor]]) -> None:
    stocks, _ = make(program, 1)
    first, second = queue_channels("p0", "p1", timeout_seconds=1)
    second.close()
    with pytest.raises(PartyLost):
        program(HybridParty(stocks[0], FaultyChannel(first, fault="lose", at_message=0), POLICY), [shares[0][0]])
    with pytest.raises(ProtocolError, match="begun before"):
        HybridParty(stocks[0], first, POLICY)


def test_another_program_is_refused(shares: list[tuple[Tensor, Tensor]]) -> None:
    """P1, which keeps the circuits, finds out where it evaluates; P0 hears that it is gone."""
    for made, used in ((longer, program), (program, longer)):
        stocks, _ = make(made, 1)
        with pytest.raises(SecureInferenceError):
            use(used, stocks, shares)
        with pytest.raises(ProtocolError, match="begun before"):
            HybridParty(stocks[1], queue_channels("p1", "p0")[0], POLICY)


def test_what_is_burnt_is_gone_and_nothing_secret_is_printed() -> None:
    stocks, _ = make(program, 1)
    for stock in stocks:
        assert repr(stock.seed) not in repr(stock) and "shelf" not in repr(stock)
        assert stock.size_bytes > 0
        stock.burn()
        assert stock.size_bytes == 0 and stock.seed == b"" and stock.shelf.take() is None
        with pytest.raises(ProtocolError):
            stock.begin()


def test_a_stock_is_filled_once() -> None:
    stocks, _ = make(program, 1)
    with pytest.raises(ProtocolError, match="each making takes a new one"):
        HybridMaker(stocks[0], queue_channels("p0", "p1")[0], POLICY)


def test_entries_come_out_in_their_order_once() -> None:
    for wrong in ((2, 5), (3, 4)):
        stock = Stock(0, b"session", "client", bytes(16))
        stock.put(3, np.zeros(5, dtype=np.uint8))
        with pytest.raises(ProtocolError, match=f"gate {wrong[0]}"):
            stock.take(*wrong)
    stock.put(3, np.zeros(5, dtype=np.uint8))
    with pytest.raises(ProtocolError, match="of gate 3"):
        stock.finish()
    stock.put(3, np.zeros(5, dtype=np.uint8))
    stock.take(3, 5)
    with pytest.raises(ProtocolError, match="gate 3"):
        stock.take(3, 5)
    stock.finish()


def test_makings_have_nothing_in_common(shares: list[tuple[Tensor, Tensor]]) -> None:
    """No message of one comes again in another, in making or in use, but for what has no bytes."""
    passes = []
    for _ in range(2):
        stocks, made = make(program, 1)
        passes.append([made, use(program, stocks, shares)])
    for first, second in zip(*passes, strict=True):
        for index in (0, 1):
            assert not set(first.sent[index]) & set(second.sent[index])


def test_messages_are_as_long_whatever_the_input_is() -> None:
    lengths = []
    for value in (0.0, -8000.0):
        stocks, made = make(program, 1)
        used = use(program, stocks, [split(encode(torch.full(SHAPE, value).double()))])
        lengths.append([[len(message) for message in messages] for messages in (*made.sent, *used.sent)])
    assert lengths[0] == lengths[1]


def test_a_truncated_message_ends_the_making() -> None:
    session = os.urandom(16)

    def run(index: int, channel: object, meter: object) -> None:
        peer = FaultyChannel(channel, fault="truncate", at_message=1) if index == 0 else channel  # type: ignore[arg-type]
        program(HybridMaker(fresh_stock(index, session, "client"), peer, POLICY), [None])  # type: ignore[arg-type]

    with pytest.raises(SecureInferenceError):
        both(run, timeout_seconds=20)


def test_what_the_family_cannot_compute_is_refused_by_name() -> None:
    for function, name in ((gelu, "gelu"), (lambda x: decompose(x, 8), "decompose")):
        with pytest.raises(ConfigurationError, match=name):
            session = os.urandom(16)

            def run(
                index: int, channel: object, meter: object, function: object = function, s: bytes = session
            ) -> None:
                protocol = HybridMaker(fresh_stock(index, s, "client"), channel, POLICY)  # type: ignore[arg-type]
                function(protocol.input(None, (2, 2), 16))  # type: ignore[operator]

            both(run)
    with pytest.raises(ConfigurationError, match="exactly"):
        HybridLoader(0, EXACT)
    with pytest.raises(ConfigurationError, match="weights='server'"):
        HybridLoader(1, POLICY).prepare(
            Parameter((2, 2), 16, opened=True), torch.zeros(2, 2).long(), Visibility.PRIVATE
        )


def test_matrices_whose_noise_would_show_are_refused() -> None:
    loader, parameter = HybridLoader(1, FixedPointPolicy()), Parameter((2, 1), 16, opened=True)
    loader.prepare(parameter, encode(torch.full((2, 1), 127.0)), Visibility.SERVER)
    with pytest.raises(BoundError, match="256"):
        loader.prepare(parameter, encode(torch.full((2, 1), 128.0)), Visibility.SERVER)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["lose", "truncate"])
@pytest.mark.parametrize(("index", "at_message"), [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)])
def test_a_session_that_breaks_anywhere_burns_both_stocks(
    index: int, at_message: int, fault: str, shares: list[tuple[Tensor, Tensor]]
) -> None:
    stocks, _ = make(program, 1)

    def run(party: int, channel: Channel, meter: Meter) -> None:
        peer = FaultyChannel(channel, fault=fault, at_message=at_message) if party == index else channel
        program(HybridParty(stocks[party], peer, POLICY, meter=meter), [shares[0][party]])

    with pytest.raises(SecureInferenceError):
        both(run, timeout_seconds=20)
    for stock in stocks:
        with pytest.raises(ProtocolError, match="begun before"):
            stock.begin()
