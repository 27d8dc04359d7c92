"""Ring elements on the CPU: their products, and their bytes on the wire."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from secure.protocols.core import ring, transfer
from secure.protocols.core.channel import Payload
from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.kernels.cpu.compiler import Array, computed, elements, run

_HALF_WORD_BYTES, _WORD_BYTES = 4, 8
_COLUMNS = 512  # of the right factor at a time: eight rows of them stay in the first-level cache
_FEW_COLUMNS = 8192  # for one row, which comes back to none of them: long stretches of memory are read faster


def _pack(x: Array, words: Array) -> None:
    """words[i] = x[i]. Shapes: int64 [n], [n]."""
    for i in range(len(x)):
        words[i] = x[i]


def _pack_sum(x: Array, y: Array, total: Array, words: Array) -> None:
    """total = x + y, and packed. Shapes: int64 [n] each."""
    for i in range(len(x)):
        value = x[i] + y[i]
        total[i] = value
        words[i] = value


def _pack_difference(x: Array, y: Array, words: Array) -> None:
    """x - y, packed. Shapes: int64 [n] each."""
    for i in range(len(x)):
        words[i] = x[i] - y[i]


def _unpack(words: Array, mask: int, x: Array) -> None:
    """The masked low bits of each word. Shapes: int64 [n] each."""
    for i in range(len(words)):
        x[i] = words[i] & mask


def _unpack_added(words: Array, mask: int, y: Array, x: Array) -> None:
    """The masked low bits of word plus y. Shapes: int64 [n] each."""
    for i in range(len(words)):
        x[i] = (words[i] + y[i]) & mask


def _shift_right(x: Array, shift: int, low: int, out: Array) -> None:
    """See `ring.shift_right`; `low` masks the bits that are left. Shapes: int64 [n] each."""
    for i in range(len(x)):
        out[i] = (x[i] >> shift) & low


def _multiply(a: Array, b: Array, c: Array) -> None:
    """c += a @ b for each matrix of a batch, mod what a word of c holds; b alone may be of half words.

    Shapes: [G, m, k], [G or 1, k, n], [G, m, n].
    """
    batch, rows, inner = a.shape
    columns = b.shape[2]
    width = max(_COLUMNS, _FEW_COLUMNS // max(rows, 1))
    for g in range(batch):
        h = g if b.shape[0] > 1 else 0
        for start in range(0, columns, width):
            stop = min(start + width, columns)
            p = 0
            # Eight rows of b at a time: one load and one store of c for eight multiplications.
            while p + 8 <= inner:
                b0, b1 = b[h, p, start:stop], b[h, p + 1, start:stop]
                b2, b3 = b[h, p + 2, start:stop], b[h, p + 3, start:stop]
                b4, b5 = b[h, p + 4, start:stop], b[h, p + 5, start:stop]
                b6, b7 = b[h, p + 6, start:stop], b[h, p + 7, start:stop]
                for i in range(rows):
                    a0, a1, a2, a3 = a[g, i, p], a[g, i, p + 1], a[g, i, p + 2], a[g, i, p + 3]
                    a4, a5, a6, a7 = a[g, i, p + 4], a[g, i, p + 5], a[g, i, p + 6], a[g, i, p + 7]
                    out = c[g, i, start:stop]
                    for j in range(stop - start):
                        low = a0 * b0[j] + a1 * b1[j] + a2 * b2[j] + a3 * b3[j]
                        out[j] += low + a4 * b4[j] + a5 * b5[j] + a6 * b6[j] + a7 * b7[j]
                p += 8
            while p < inner:
                b0 = b[h, p, start:stop]
                for i in range(rows):
                    a0 = a[g, i, p]
                    out = c[g, i, start:stop]
                    for j in range(stop - start):
                        out[j] += a0 * b0[j]
                p += 1


@ring.shift_right.on_cpu
def shift_right(x: Tensor, shift: int, bits: int) -> Tensor:
    """See `ring.shift_right`."""
    if shift == 0:
        return ring.low(x, bits)
    return computed(_shift_right, elements(x), shift, (1 << (bits - shift)) - 1, shape=(x.numel(),)).reshape(x.shape)


@ring.matmul.on_cpu
def matmul(a: Tensor, b: Tensor, bits: int = ring.WORD_BITS) -> Tensor:
    """See `ring.matmul`."""
    if bits <= ring.HALF_WORD_BITS:
        # The result is wanted mod 2^32 only, and a vector holds twice as many half words.
        a, b = a.to(torch.int32), b.to(torch.int32)
    if b.dim() == 2:  # one matrix for the whole batch
        product = _product(a.flatten(0, -2).unsqueeze(0), b.unsqueeze(0))
        return product.reshape(*a.shape[:-1], b.shape[-1])
    return ring.batched(_product, a, b)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Products of matrices, one by one. Shapes: [G, m, k], [G or 1, k, n] -> [G, m, n]."""
    c = np.zeros((a.shape[0], a.shape[1], b.shape[2]), dtype=np.int32 if a.dtype == torch.int32 else np.int64)
    run(_multiply, a, b, into=(c,))
    return torch.from_numpy(c).to(torch.int64)


@ring.pack.on_cpu
def pack(x: Tensor, bits: int) -> Tensor:
    """See `ring.pack`."""
    width = ring.element_bytes(bits)
    if width == _WORD_BYTES:
        return ring.pack.plain(x, bits)
    packed, words = _room(x.numel(), width)
    run(_pack, elements(x), into=(words,))
    return torch.from_numpy(packed)


@ring.pack_sum.on_cpu
def pack_sum(x: Tensor, y: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """See `ring.pack_sum`."""
    width = ring.element_bytes(bits)
    if width == _WORD_BYTES:
        return ring.pack_sum.plain(x, y, bits)
    total = np.empty(x.shape, dtype=np.int64)
    packed, words = _room(x.numel(), width)
    run(_pack_sum, elements(x), elements(y), into=(total.reshape(-1), words))
    return torch.from_numpy(total), torch.from_numpy(packed)


@ring.pack_difference.on_cpu
def pack_difference(x: Tensor, y: Tensor, bits: int, *, keep: bool = False) -> Tensor:
    """See `ring.pack_difference`."""
    width = ring.element_bytes(bits)
    if width == _WORD_BYTES:
        return ring.pack_difference.plain(x, y, bits, keep=keep)
    packed, words = _room(x.numel(), width)
    run(_pack_difference, elements(x), elements(y), into=(words,))
    return torch.from_numpy(packed)


@ring.unpack.on_cpu
def unpack(
    payload: Payload,
    shape: tuple[int, ...],
    bits: int,
    device: torch.device = transfer.CPU,
    dtype: torch.dtype = torch.int64,
) -> Tensor:
    """See `ring.unpack`."""
    width, packed = ring.element_bytes(bits), np.frombuffer(payload, dtype=np.uint8)
    x = np.empty(shape, dtype=np.int32 if dtype == torch.int32 else np.int64)
    _check_size(packed, width * x.size)
    flat = x.reshape(-1)
    if flat.itemsize == width == _HALF_WORD_BYTES:
        flat.view(np.uint8)[:] = packed
    else:
        mask = -1 if width == _WORD_BYTES else (1 << 8 * width) - 1
        for part, words in _words_of(packed, width):
            run(_unpack, words, mask, into=(flat[part],))
    return torch.from_numpy(x)


@ring.unpack_added.on_cpu
def unpack_added(payload: Payload, x: Tensor, bits: int) -> Tensor:
    """See `ring.unpack_added`."""
    mask = -1 if bits >= ring.WORD_BITS else (1 << bits) - 1
    result = np.empty(x.shape, dtype=np.int64)
    y, flat = elements(x), result.reshape(-1)
    width, packed = ring.element_bytes(bits), np.frombuffer(payload, dtype=np.uint8)
    _check_size(packed, width * len(flat))
    for part, words in _words_of(packed, width):
        run(_unpack_added, words, mask, y[part], into=(flat[part],))
    return torch.from_numpy(result)


def _check_size(packed: Array, due: int) -> None:
    """Raises ProtocolError for more or fewer bytes than are due: a loop writes as many elements as it is given."""
    if len(packed) != due:
        raise ProtocolError(f"{len(packed)} bytes are unpacked where {due} are due")


def _room(count: int, width: int) -> tuple[Array, Array]:
    """Memory for packed elements: its bytes, and as words that are as long, or as overlapping longer ones."""
    if width == _HALF_WORD_BYTES:
        words = np.empty(count, dtype=np.int32)
        return words.view(np.uint8), words
    packed = np.empty(count * width + 8, dtype=np.uint8)
    return packed[: count * width], np.ndarray((count,), dtype=np.int64, buffer=packed.data, strides=(width,))


def _words_of(packed: Array, width: int) -> list[tuple[slice, Array]]:
    """Packed elements as overlapping words; the last few, behind which there is too little to read, from a copy."""
    count = len(packed) // width
    whole = max(0, (len(packed) - 8) // width + 1)
    rest = np.zeros((count - whole) * width + 8, dtype=np.uint8)
    rest[: (count - whole) * width] = packed[whole * width :]
    parts = slice(0, whole), slice(whole, count)
    return [
        (part, np.ndarray((part.stop - part.start,), dtype=np.int64, buffer=memory.data, strides=(width,)))
        for part, memory in zip(parts, (packed, rest), strict=True)
        if part.stop > part.start
    ]
