"""Circuits against plain Python: all inputs where they are small, random ones in the rings that are used."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from secure.protocols.core.errors import ConfigurationError
from secure.protocols.core.piecewise import Piece, Piecewise
from secure.protocols.functions.gelu import GELU
from secure.protocols.functions.relu import relu_function
from secure.protocols.hybrid.garbled.circuit import ONE, ZERO, Builder, constant
from secure.protocols.hybrid.garbled.circuits import Garbler, largest, lifted, straight
from tests.protocols.hybrid.boolean import FUNCTIONS, Numbers, bits_of, computed, signed, unmasked

GARBLERS: tuple[Garbler, ...] = ("client", "server")
WIDTH = 6


def all_pairs() -> tuple[Numbers, Numbers]:
    first, second = np.meshgrid(np.arange(1 << WIDTH), np.arange(1 << WIDTH))
    return first.reshape(-1), second.reshape(-1)


def some_masks(count: int, bits: int) -> Numbers:
    return np.random.default_rng(3).integers(0, 1 << bits, count)


@pytest.mark.parametrize("garbler", GARBLERS)
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_functions_of_straight_pieces(function: Piecewise, garbler: Garbler) -> None:
    first, second = all_pairs()
    found = unmasked(straight(function, 0, WIDTH, 9, garbler), [first], [second], some_masks(len(first), 9))
    # The offsets of pieces and thresholds need room: arguments beyond it are not the function's.
    x = signed(first + second, WIDTH)
    inside = np.abs(x) < 24
    expected = function.reference(torch.from_numpy(x).double()).numpy()
    assert np.array_equal(found[inside], expected[inside])


@pytest.mark.parametrize("garbler", GARBLERS)
def test_lift_keeps_every_number(garbler: Garbler) -> None:
    first, second = all_pairs()
    for bits in (4, 6, 11):
        found = unmasked(lifted(WIDTH, bits, garbler), [first], [second], some_masks(len(first), bits))
        assert np.array_equal(found, signed(signed(first + second, WIDTH), bits))


@pytest.mark.parametrize("garbler", GARBLERS)
@pytest.mark.parametrize("elements", [2, 3, 4, 8])
def test_largest(elements: int, garbler: Garbler) -> None:
    generator = np.random.default_rng(elements)
    x = generator.integers(-16, 16, (elements, 20_000))
    x[:, :32] = np.arange(-16, 16)  # ties, at either end too
    first = generator.integers(0, 1 << WIDTH, x.shape)
    found = unmasked(
        largest(elements, WIDTH, 9, garbler), [*first], [*(x - first) % (1 << WIDTH)], some_masks(x.shape[1], 9)
    )
    assert np.array_equal(found, x.max(0))


@pytest.mark.parametrize("garbler", GARBLERS)
def test_relu_in_the_rings_of_the_default_policy(garbler: Garbler) -> None:
    generator = np.random.default_rng(5)
    x = generator.integers(-(1 << 29) + 1, 1 << 29, 4000)
    x[:4] = 0, -1, (1 << 29) - 1, -(1 << 29) + 1
    first, mask = generator.integers(0, 1 << 31, len(x)), generator.integers(0, 1 << 47, len(x))
    of = straight(relu_function(16), 16, 31, 47, garbler)
    assert of.circuit.ands == 30 + 30 + 46
    found = unmasked(of, [first], [(x - first) % (1 << 31)], mask)
    assert np.array_equal(found, np.maximum(x, 0))


def test_constants_are_folded() -> None:
    builder = Builder(2)
    assert builder.both(0, ZERO) == ZERO and builder.both(ONE, 1) == 1 and builder.xor(1, 1) == ZERO
    assert builder.both(0, builder.invert(0)) == ZERO and builder.invert(builder.invert(0)) == 0
    assert builder.xor(ONE, builder.invert(1)) == 1
    assert builder.add(constant(5, 4), constant(6, 4)) == constant(11, 4)
    circuit = builder.circuit([ONE, ZERO, 1])
    assert circuit.ands == 0
    numbers = np.arange(4)
    assert np.array_equal(computed(circuit, bits_of(numbers, 2)), 1 + 4 * (numbers >> 1))


def test_other_functions_are_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="gelu"):
        straight(GELU, 16, 31, 47, "client")
    third = Piecewise("third", (0.0,), (None, Piece(slope=1 / 3)), torch.relu, (-31.0, 31.0))
    with pytest.raises(ConfigurationError, match="third"):
        straight(third, 16, 31, 47, "client")
