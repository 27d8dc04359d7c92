"""Declared costs of making and of use are what is measured, gate by gate and message by message."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("tenseal")

from secure.protocols.core.cost import Cost
from secure.protocols.core.primitives import convolve, linear
from secure.protocols.core.secret import Secret
from secure.protocols.core.windows import Window
from secure.protocols.functions.argmax import maximum_along
from secure.protocols.functions.relu import relu
from secure.protocols.hybrid.garbled.circuits import Garbler
from tests.protocols.hybrid.two_parties import Pass, Run, secure

GARBLERS: tuple[Garbler, ...] = ("client", "server", "nobody")
ULP = 2.0**-16


def check(run: Run) -> None:
    """A gate's making checks what it keeps itself: see `HybridVerbs.run`."""
    for done in (run.made, run.used):
        for index, meter in enumerate(done.meters):
            for (layer, op), row in meter.rows.items():
                assert row.measured == row.declared.at(f"p{index}"), (layer, op)
            assert meter.total.online_bytes == sum(len(message) for message in done.sent[index])
        assert done.meters[0].total.rounds == done.meters[1].total.rounds


def total(done: Pass) -> Cost:
    first, second = (meter.total for meter in done.meters)
    return Cost(first.rounds, p0_bytes=first.online_bytes, p1_bytes=second.online_bytes)


def dense(x: Secret, w: object, b: object) -> Secret:
    return linear(x, w, b)


@pytest.mark.parametrize("garbler", GARBLERS)
def test_garbled_gates(garbler: Garbler) -> None:
    """More instances than a chunk has, and not a multiple of eight."""
    x = 100 * torch.randn(3, 111, dtype=torch.float64)
    run = secure(relu, x, garbler=garbler)
    check(run)
    assert torch.equal(run.real, torch.relu(torch.round(x / ULP) * ULP))
    again = secure(maximum_along, x[:, :5], garbler=garbler)
    check(again)
    assert torch.equal(again.real, torch.round(x[:, :5] / ULP).amax(-1, keepdim=True) * ULP)


def test_products() -> None:
    x, w, b = torch.randn(7, 6), torch.randn(6, 3), torch.randn(3)
    run = secure(dense, x.double(), weights={"w": w.double(), "b": b.double()})
    check(run)
    assert (run.real - (x @ w + b)).abs().max() < 64 * ULP


def test_convolutions() -> None:
    x, w, b = torch.randn(2, 3, 7, 6).double(), torch.randn(4, 3, 3, 3).double(), torch.randn(4).double()
    window = Window((3, 3), (2, 1), (1, 0), (1, 2))
    rows = w.reshape(4, -1).T.contiguous()

    def convolved(x: Secret, w: object, b: object) -> Secret:
        return convolve(x, w, b, window)

    run = secure(convolved, x, weights={"w": rows, "b": b})
    check(run)
    expected = torch.nn.functional.conv2d(x, w, b, stride=(2, 1), padding=(1, 0), dilation=(1, 2))
    assert run.real.shape == expected.shape
    assert (run.real - expected).abs().max() < 64 * ULP


@pytest.mark.parametrize("garbler", ["client", "server"])
def test_bytes_of_a_relu(garbler: Garbler) -> None:
    """What is said of them in documents: in making 106 ANDs of 32 bytes, and in use 31 labels and 31 bits."""
    x, more = torch.zeros(8, dtype=torch.float64), torch.zeros(264, dtype=torch.float64)
    small, large = (secure(relu, values, garbler=garbler) for values in (x, more))
    made, used = (
        [(b - a) / 256 for a, b in zip(one, other, strict=True)]
        for one, other in (
            (_bytes(small.made), _bytes(large.made)),
            (_bytes(small.used), _bytes(large.used)),
        )
    )
    # The output's lift to 64 bits is a circuit, too; and P0 sends six bytes for each input.
    lift = 32 * (30 + 63)
    if garbler == "client":
        assert made == pytest.approx([106 * 32 + 6 + lift + 8, 2 * (496 + 31 / 8)], abs=4)
        assert used == [6 + 2 * 496, 2 * 31 / 8]
    else:
        assert made == pytest.approx([(16 + 1 / 8) * (31 + 47 + 31 + 64), 106 * 32 + lift], abs=4)
        assert used == [6 + 6 + 8, 2 * 496]


def _bytes(done: Pass) -> tuple[int, int]:
    return total(done).p0_bytes, total(done).p1_bytes
