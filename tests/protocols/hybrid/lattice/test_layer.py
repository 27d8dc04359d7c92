"""Linear layers under encryption: exact for all shapes and extremes, and sizes on the wire depend on shapes alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("tenseal")

from secure.protocols.core.errors import ConfigurationError, ProtocolError
from secure.protocols.hybrid.lattice.combine import combine
from secure.protocols.hybrid.lattice.parameters import DEGREE, PLAIN_BITS
from secure.protocols.hybrid.lattice.placement import Placement
from secure.protocols.hybrid.lattice.scheme import encrypted_bytes, reply_bytes
from tests.protocols.hybrid.lattice.layers import MASK, Array, make, sides, uniform

MOST = 1 << 17


def weights(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).integers(-MOST, MOST, shape)


def check_rows(x: Array, w: Array) -> None:
    """Shapes: uint64 [rows, K], int64 [K, M]."""
    layout = Placement(*x.shape)
    layer = make(layout, x[:, :, None], w)
    expected = x @ w.astype(np.uint64)  # mod 2^64, hence right mod 2^48
    assert np.array_equal((layer.client + layer.owner) & MASK, (expected & MASK)[:, None])
    assert {len(c) for c in layer.ciphertexts} == {encrypted_bytes()}
    assert {len(r) for r in layer.replies} == {reply_bytes(layout.together)}
    assert len(layer.ciphertexts) == layout.groups * layout.polynomials
    assert len(layer.replies) == layout.groups * w.shape[1]


@pytest.mark.parametrize(("rows", "inner", "columns"), [(1, 1, 1), (1, 70, 2), (5, 3, 2), (DEGREE, 2, 1), (300, 40, 1)])
def test_products_are_exact(rows: int, inner: int, columns: int) -> None:
    check_rows(uniform(rows, inner), weights(inner, columns))


def test_more_rows_than_a_polynomial_has() -> None:
    check_rows(uniform(DEGREE + 3, 1), weights(1, 1))


def test_extremes_are_exact() -> None:
    largest, half = (1 << PLAIN_BITS) - 1, 1 << (PLAIN_BITS - 1)
    x = np.array([[largest] * 64, [half] * 64, [0] * 64, [1] * 64], dtype=np.uint64)
    w = np.stack([np.full(64, MOST - 1), np.full(64, -MOST), np.zeros(64, dtype=np.int64)], axis=1)
    check_rows(x, w)


@pytest.mark.parametrize(
    ("images", "channels", "side", "kernel", "stride"),
    [(1, 3, 9, 3, 1), (2, 2, 8, 3, 2), (1, 2, 6, 1, 1), (3, 2, 60, 5, 2)],
)
def test_convolutions_are_exact(images: int, channels: int, side: int, kernel: int, stride: int) -> None:
    """Images that are padded already; the last case needs more than one polynomial for each channel."""
    x, w = uniform(images, channels, side, side), weights(channels * kernel**2, 2)
    offsets = [y * side + column for y in range(kernel) for column in range(kernel)]
    out = (side - kernel) // stride + 1
    wanted = [stride * (y * side + column) for y in range(out) for column in range(out)]
    layout = Placement(images, channels, side * side, tuple(offsets), tuple(wanted))
    layer = make(layout, x.reshape(images, channels, -1), w)
    windows = torch.from_numpy(x.astype(np.int64)).unfold(2, kernel, stride).unfold(3, kernel, stride)
    rows = windows.permute(0, 2, 3, 1, 4, 5).reshape(images, out * out, -1)
    expected = (rows @ torch.from_numpy(w)).numpy().astype(np.uint64)
    assert np.array_equal((layer.client + layer.owner) & MASK, expected & MASK)


def test_a_combination_is_what_big_integers_give() -> None:
    generator, prime = np.random.default_rng(11), 1152921504606748673
    polynomials = generator.integers(0, prime, (3, DEGREE), dtype=np.uint64)
    polynomials[0, :4] = prime - 1
    sources, shifts = np.array([0, 1, 2, 1]), np.array([0, 5, DEGREE - 1, 77])
    w, places = generator.integers(-MOST, MOST, (4, 2)), np.array([0, 1, DEGREE - 3, DEGREE - 1])
    found = combine(polynomials, sources, shifts, w.astype(np.float64), places, prime)
    for k in range(2):
        for i, place in enumerate(places.tolist()):
            total = 0
            for j in range(4):
                at = place + int(shifts[j])
                value = int(polynomials[sources[j], at % DEGREE]) * (1 if at < DEGREE else -1)
                total += int(w[j, k]) * value
            assert int(found[k, i]) == total % prime


def test_what_cannot_be_exact_is_refused() -> None:
    zeros = np.zeros((1, DEGREE), dtype=np.uint64)
    terms = np.zeros(1 << 13, dtype=np.int64)
    with pytest.raises(ProtocolError, match="8192 terms"):
        combine(zeros, terms, terms, np.full((1 << 13, 1), 2.0**22), np.array([0]), 97)
    with pytest.raises(ConfigurationError, match="do not fit a polynomial"):
        Placement(1, 1, DEGREE + 1)


def test_changed_messages_are_refused() -> None:
    _, client, owner = sides()
    good = client.encrypt(uniform(DEGREE))
    for wrong in (good[:-1], good + b"x", b"\xff" * 15 + good[15:], b""):
        with pytest.raises(ProtocolError):
            owner.read(wrong)
    places = np.arange(4)
    for size in (0, reply_bytes(4) - 1):
        with pytest.raises(ProtocolError):
            client.decrypt(bytes(size), places)
    with pytest.raises(ProtocolError):
        client.decrypt(b"\xff" * reply_bytes(4), places)
    with pytest.raises(ProtocolError, match="public key"):
        type(owner)(sides()[0], client.public_key[1:])
