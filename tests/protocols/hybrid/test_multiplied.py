"""Products of two secrets from transfers: exact in the ring, with what they declare."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("tenseal")

from secure.protocols.core.channel import Channel
from secure.protocols.core.cost import Meter
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.core.secret import Secret, matmul, multiply
from secure.protocols.hybrid.gates.cross_terms import (
    EncryptedMatrices,
    TransferredMatrices,
    _digits,
    _lifted,
    matrices,
)
from secure.protocols.hybrid.lattice.parameters import MOST_NORM_BITS
from secure.protocols.hybrid.protocol import HybridMaker, fresh_stock
from secure.protocols.hybrid.roles import Maker
from secure.protocols.hybrid.transfer import rows as rows_module
from secure.protocols.hybrid.transfer.crossing import Crossing
from secure.protocols.hybrid.transfer.rows import RowProducts
from tests.in_process import POLICY
from tests.protocols.hybrid.networks import predict
from tests.protocols.hybrid.test_costs import check
from tests.protocols.hybrid.test_transferred import rounded
from tests.protocols.hybrid.two_parties import Run, both, secure

ULP = 2.0**-16
EXTREME = [0.0, ULP, -ULP, 90.0, -90.0, 8191.0, -8191.0, 1.0]


def close(run: Run, expected: torch.Tensor, units: float = 1.0) -> None:
    """A truncation is a unit off, at most."""
    check(run)
    assert run.real.shape == expected.shape
    assert (run.real - expected).abs().max() <= units * ULP


def test_products_elementwise() -> None:
    x = rounded(torch.cat([torch.tensor(EXTREME).double(), 15 * torch.randn(8, dtype=torch.float64)]))
    y = rounded(torch.cat([torch.tensor([5.0, 1.0, 1.0, 90.0, 90.0, 1.0, -1.0, 8191.0]), 15 * torch.randn(8)]).double())
    close(
        secure(lambda a, b: multiply(a, b), x.reshape(4, 4), y.reshape(4, 4), garbler="nobody"), (x * y).reshape(4, 4)
    )
    few = torch.tensor([1.0, -1.0, 0.5, ULP]).double()
    broad = secure(lambda a, b: multiply(a, b), x.reshape(4, 4), few, garbler="nobody")
    close(broad, x.reshape(4, 4) * few)


def test_squares_take_half() -> None:
    x = rounded(torch.cat([torch.tensor(EXTREME[:5]).double(), 15 * torch.randn(11, dtype=torch.float64)]))
    run = secure(lambda a: multiply(a, a), x, garbler="nobody")
    close(run, x * x)
    product = secure(lambda a, b: multiply(a, b), x, x, garbler="nobody")
    of = [r.made.meters[1].rows[("", "multiply")].measured.online_bytes for r in (run, product)]
    assert 2 * of[0] == of[1]


@pytest.mark.parametrize("shapes", [((3, 5), (5, 4)), ((2, 1, 3, 2), (3, 2, 3))], ids=["plain", "broadcast"])
def test_products_of_matrices(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    x, y = (rounded(20 * torch.randn(shape, dtype=torch.float64)) for shape in shapes)
    close(secure(lambda a, b: matmul(a, b), x, y, garbler="nobody"), x @ y)


@pytest.mark.parametrize(
    ("shape", "kinds"),
    [
        ((1, 64, 32, 4), (EncryptedMatrices, TransferredMatrices)),
        ((2, 40, 150, 33), (EncryptedMatrices, EncryptedMatrices)),
    ],
    ids=["one-encrypted", "both"],
)
def test_products_of_large_matrices(shape: tuple[int, ...], kinds: tuple[type, ...]) -> None:
    """By the lattice, whichever of the terms takes fewer bytes so; sums that are cut, and numbers at both ends."""
    batch, m, k, n = shape
    assert tuple(type(matrices(batch, *each, 48)) for each in ((m, k, n), (n, k, m))) == kinds
    x, y = (rounded(torch.randn(each, dtype=torch.float64)) for each in ((batch, m, k), (batch, k, n)))
    x[:, 0], y[..., 0], y[:, 0] = 0.0, ULP, rounded(y[:, 0].clamp(-0.9, 0.9))
    x[:, 1, 0], y[:, 0, :2] = 8100.0, torch.tensor([1.0, -1.0]).double()
    close(secure(lambda a, b: matmul(a, b), x, y, garbler="nobody"), x @ y)


def test_what_the_lattice_multiplies_with_is_small_and_exact() -> None:
    """Digits of any words, of as many rows as there may be, add up to less than noise has room for."""
    words = np.frombuffer(os.urandom(8 * 128 * 5), np.uint64).reshape(128, 5) & np.uint64(2**48 - 1)
    words[:, 0], words[:, 1], words[:, 2] = 0x800080008000, 0x7FFF7FFF7FFF, 2**48 - 1
    digits = _digits(words.copy())
    assert np.abs(digits).sum(0).max() < 2**MOST_NORM_BITS
    numbers = np.frombuffer(os.urandom(8 * 7 * 128), np.uint64).reshape(7, 128) & np.uint64(2**48 - 1)
    product = _lifted(numbers) @ digits.astype(np.int64).view(np.uint64)
    assert np.array_equal(product & np.uint64(2**48 - 1), (numbers @ words) & np.uint64(2**48 - 1))


def test_rows_add_up() -> None:
    """Every bit of every number, and rows of one word, of two and of an odd number of them."""
    numbers = np.array([0, 1, 2**46, 2**47 - 1, 0x5A5A5A5A5A5A], np.uint64)
    session = os.urandom(16)
    for length in (1, 2, 5):
        rows = np.frombuffer(os.urandom(8 * 5 * length), np.uint64).reshape(5, length)
        term = RowProducts(5, length, 47)

        def run(
            index: int, channel: Channel, meter: Meter, term: RowProducts = term, rows: np.ndarray = rows
        ) -> np.ndarray:  # type: ignore[type-arg]
            protocol = HybridMaker(fresh_stock(index, session, "nobody"), channel, POLICY, meter=meter)
            for sender, count in enumerate(term.crossed().transfers):
                protocol.carry_out_refills(sender, count)
            assert isinstance(protocol.role, Maker)
            protocol.role.begin_gate()
            crossing = Crossing(protocol.role)
            return term.cross(crossing, rows if index else numbers)

        first, second = both(run).results
        low = np.uint64(2**47 - 1)
        assert np.array_equal((first + second) & low, (numbers[:, None] * rows) & low)


def test_many_rows_go_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what they declare, exchange by exchange: as many as of a layer's numbers are never held at once."""
    x = rounded(20 * torch.randn(9, 7, dtype=torch.float64))
    whole = secure(lambda a: multiply(a, a), x, garbler="nobody")
    monkeypatch.setattr(rows_module, "_MOST_WORDS", 48 * 10)
    parts = secure(lambda a: multiply(a, a), x, garbler="nobody")
    close(parts, x * x)
    rounds = [run.made.meters[0].rows["", "multiply"].measured.rounds for run in (whole, parts)]
    assert rounds == [1, 7]


def test_circuits_multiply_nothing() -> None:
    def squared(x: Secret) -> Secret:
        return multiply(x, x)

    with pytest.raises(ConfigurationError, match='with engine = "transfer" alone'):
        secure(squared, torch.zeros(2).double())


class Gated(nn.Module):
    """One layer's outputs times another one's, and a square."""

    def __init__(self) -> None:
        super().__init__()
        self.value, self.gate, self.out = nn.Linear(4, 5), nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.value(x) * torch.relu(self.gate(x))
        return self.out(hidden * hidden)


def test_a_network_with_gates_gives_what_torch_does() -> None:
    torch.manual_seed(1)
    found = predict(Gated(), torch.randn(3, 4), garbler="nobody")
    assert (found.outputs - found.expected).abs().max() < 64 * ULP
    for done in (found.made, found.used):
        for index, meter in enumerate(done.meters):
            assert all(row.measured == row.declared.at(f"p{index}") for row in meter.rows.values())
