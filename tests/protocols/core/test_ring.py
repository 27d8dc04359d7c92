"""Ring arithmetic and the wire format, against Python's integers."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.errors import ProtocolError

WORDS = st.integers(-(2**63), 2**63 - 1)
RINGS = st.integers(1, 64)


def words(values: list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


def random_words(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-(2**63), 2**63 - 1, shape, generator=generator, dtype=torch.int64)


def as_int64(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


@given(st.lists(WORDS, min_size=1, max_size=9), RINGS)
def test_representatives(values: list[int], bits: int) -> None:
    x = words(values)
    assert ring.low(x, bits).tolist() == [as_int64(v % 2**bits) for v in values]
    half = 2 ** (bits - 1)
    assert ring.signed(x, bits).tolist() == [(v + half) % 2**bits - half for v in values]
    assert ring.top_bit(x, bits).tolist() == [v >> (bits - 1) & 1 for v in values]


@given(st.lists(WORDS, min_size=1, max_size=9), RINGS, st.data())
def test_shift_right(values: list[int], bits: int, data: st.DataObject) -> None:
    shift = data.draw(st.integers(0, bits - 1))
    shifted = ring.shift_right(words(values), shift, bits)
    assert shifted.tolist() == [as_int64(v % 2**bits >> shift) for v in values]
    if shift:
        assert torch.equal(shifted, ring.shift_right.plain(words(values), shift, bits))


@given(st.lists(WORDS, min_size=1, max_size=17), RINGS)
def test_wire_format_is_the_low_bytes_little_endian(values: list[int], bits: int) -> None:
    width = ring.element_bytes(bits)
    packed = ring.pack(words(values), bits)
    assert bytes(packed.tolist()) == b"".join((v % 2 ** (8 * width)).to_bytes(width, "little") for v in values)
    back = ring.unpack(packed.numpy().data, (len(values),), bits)
    assert back.tolist() == [as_int64(v % 2 ** (8 * width)) for v in values]


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (2, 3, 5), (0,), (3, 0)])
@pytest.mark.parametrize("bits", [64, 47, 32, 31, 8, 1])
def test_pack_keeps_shapes(shape: tuple[int, ...], bits: int) -> None:
    x = random_words(*shape) if shape else random_words(1)[0]
    packed = ring.pack(x, bits)
    assert packed.shape == (x.numel() * ring.element_bytes(bits),)
    assert torch.equal(ring.low(ring.unpack(packed.numpy().data, shape, bits), bits), ring.low(x, bits))


@pytest.mark.parametrize("bits", [64, 47, 8])
@pytest.mark.parametrize("offset", [0, 1, 8, 13])
def test_unpack_from_the_middle_of_a_message(bits: int, offset: int) -> None:
    x = ring.low(random_words(5), bits)
    message = torch.cat([torch.zeros(offset, dtype=torch.uint8), ring.pack(x, bits)])
    payload = message.numpy().data[offset:]
    assert torch.equal(ring.unpack(payload, (5,), bits), x)
    added = ring.unpack_added(payload, torch.arange(5), bits)
    assert torch.equal(added, ring.low(x + torch.arange(5), bits))


@pytest.mark.parametrize("size", [0, 47, 49, 64])
def test_more_or_fewer_bytes_than_are_due_are_refused(size: int) -> None:
    """A loop that trusted a message's length would write past its result."""
    with pytest.raises(ProtocolError, match="48 are due"):
        ring.unpack(bytes(size), (2, 4), 48)
    with pytest.raises(ProtocolError, match="48 are due"):
        ring.unpack_added(bytes(size), torch.zeros(2, 4, dtype=torch.int64), 48)


def test_pack_of_views() -> None:
    x = random_words(6, 4)
    for view in (x.T, x[::2], x[:, 1:3], x[:1].expand(3, 4)):
        assert torch.equal(ring.unpack(ring.pack(view, 48).numpy().data, tuple(view.shape), 48), ring.low(view, 48))


@pytest.mark.parametrize("bits", [64, 48, 32, 8])
def test_pack_of_slices_of_one_element_and_of_none(bits: int) -> None:
    x = random_words(6, 4)
    for view in (x[0, :2:2], x[1, 3:4:5], x.T[3:, ::6], x[0, 4::2], x[0, :0:3], x[6:], x[:, 4::2]):
        packed = ring.pack(view, bits)
        assert torch.equal(packed, ring.pack.plain(view, bits))
        assert torch.equal(ring.unpack(packed.numpy().data, tuple(view.shape), bits), ring.low(view, bits))


SHAPES = [
    *(((m, k), (k, n)) for m, k, n in itertools.product([1, 3, 9], [1, 7, 8, 17], [1, 5, 513])),
    ((2, 3, 9), (9, 5)),
    ((2, 3, 9), (2, 9, 5)),
    ((2, 1, 3, 9), (4, 9, 5)),
    ((1, 3, 9), (4, 9, 5)),
    ((3, 9), (4, 9, 5)),
    ((2, 2, 1, 1), (2, 2, 1, 1)),
]


@pytest.mark.parametrize(("left", "right"), SHAPES)
@pytest.mark.parametrize("bits", [64, 48, 32])
def test_matmul_kernel_equals_reference(left: tuple[int, ...], right: tuple[int, ...], bits: int) -> None:
    a, b = random_words(*left, seed=1), random_words(*right, seed=2)
    expected = torch.matmul(a, b)
    assert torch.equal(ring.low(ring.matmul(a, b, bits), bits), ring.low(expected, bits))


def test_matmul_reference_is_exact() -> None:
    a, b = random_words(3, 5, seed=3), random_words(5, 2, seed=4)
    expected = [
        [as_int64(sum(x * y for x, y in zip(row, column, strict=True))) for column in b.T.tolist()]
        for row in a.tolist()
    ]
    assert torch.matmul(a, b).tolist() == expected


@pytest.mark.parametrize("wide", [(True, False), (False, True), (False, False)])
def test_matmul_takes_32_bit_operands(wide: tuple[bool, bool]) -> None:
    a, b = random_words(3, 9), random_words(9, 5)
    left, right = a if wide[0] else a.to(torch.int32), b if wide[1] else b.to(torch.int32)
    product = ring.matmul(left, right, 32)
    assert product.dtype == torch.int64
    assert torch.equal(ring.low(product, 32), ring.low(torch.matmul(a, b), 32))


@pytest.mark.parametrize("bits", [64, 32, 24])
def test_matmul_of_views(bits: int) -> None:
    x = random_words(4, 6, 3)
    left, right = x.transpose(1, 2), x[:, :, :2]
    assert torch.equal(ring.low(ring.matmul(left, right, bits), bits), ring.low(torch.matmul(left, right), bits))
    narrow = right.to(torch.int32)[:, ::2]
    product = ring.matmul(left[..., ::2], narrow, bits)
    assert torch.equal(ring.low(product, bits), ring.low(torch.matmul(left[..., ::2], narrow.to(torch.int64)), bits))


@pytest.mark.parametrize(("left", "right"), [((0, 9), (9, 5)), ((3, 0), (0, 5)), ((3, 9), (9, 0)), ((0, 3, 9), (9, 5))])
def test_matmul_of_nothing(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    for bits in (64, 32):
        product = ring.matmul(random_words(*left), random_words(*right), bits)
        assert torch.equal(product, torch.zeros(*left[:-1], right[-1], dtype=torch.int64))


def test_on_the_meta_device_shapes_alone_are_computed() -> None:
    x, y = random_words(3, 1, 4), random_words(2, 4)
    far = x.to("meta")
    assert torch.equal(ring.mapped(lambda t: t * 3, x), x * 3)
    for function in (lambda t: -t, lambda t: t.sum(-1), lambda t: t.reshape(2, 6), lambda t: t[..., None] << 2):
        found, due = ring.mapped(function, far), function(x)
        assert (found.is_meta, found.shape, found.dtype) == (True, due.shape, due.dtype)
    for combine in (ring.add, ring.multiply):
        assert torch.equal(combine(x, y), x + y if combine is ring.add else x * y)
        for left, right in ((far, y), (x, y.to("meta")), (far, y.to("meta"))):
            assert (combine(left, right).is_meta, combine(left, right).shape) == (True, (3, 2, 4))
    assert ring.low(far, 8).is_meta
    assert ring.broadcast((3, 1, 4), (2, 1)) == torch.broadcast_shapes((3, 1, 4), (2, 1))
    with pytest.raises(ValueError, match="mismatch"):
        ring.broadcast((3,), (2,))
