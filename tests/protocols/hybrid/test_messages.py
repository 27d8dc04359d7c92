"""What is sent looks uniform, whatever the input is; and what P1 gets of an input is masked beyond its ring, too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("tenseal")

from secure.protocols.core.secret import Protocol
from secure.protocols.functions.relu import relu
from secure.protocols.hybrid.garbled.circuits import Garbler
from tests.in_process import encode, split
from tests.protocols.hybrid.two_parties import make, use
from tests.protocols.uniformity import P_VALUE, p_value

SHAPE = (2048,)


def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
    return protocol.reveal(relu(protocol.input(shares[0], SHAPE, 16)))


def assert_balanced(message: bytes, unit_bytes: int, unused_bits: int = 0) -> None:
    """Each bit of a unit is set in half of the units, but for six standard deviations; the top ones may be unused."""
    bits = np.unpackbits(np.frombuffer(message, np.uint8), bitorder="little").reshape(-1, 8 * unit_bytes)
    used = bits[:, : 8 * unit_bytes - unused_bits]
    assert (np.abs(used.mean(0) - 0.5) < 6 * 0.5 / np.sqrt(len(used))).all()
    assert not bits[:, used.shape[1] :].any()


@pytest.mark.parametrize("garbler", ["client", "server"])
@pytest.mark.parametrize("value", [0.0, pytest.param(-3.0, marks=pytest.mark.slow)])
def test_messages_of_a_session(garbler: Garbler, value: float) -> None:
    stocks, made = make(program, 1, garbler=garbler)
    used = use(program, stocks, [split(encode(torch.full(SHAPE, value).double()))])
    result = used.results[0] + used.results[1]
    assert torch.equal(result, encode(torch.full(SHAPE, max(value, 0.0)).double()))
    first, second = used.sent
    assert_balanced(first[0], 6)  # the input: 47 bits of its ring and the one above
    if garbler == "client":
        for message in second:  # 31 bits of each instance, a chunk of 256 row by row
            assert_balanced(message, 32)
        for message in first[1:]:  # labels
            assert_balanced(message, 16)
    else:
        assert_balanced(first[1], 6, unused_bits=1)  # colours
        assert_balanced(first[2], 8)
        for message in second:
            assert_balanced(message, 16)
    for sent in made.sent:
        for message in sent:
            # Keys and points are few; tables, and the columns of transfers, are many.
            assert len(message) < 500_000 or p_value(message[: 16 * (len(message) // 32)]) > P_VALUE
