"""Ring elements and their bytes on the wire."""

from __future__ import annotations

import numpy as np

from secure.protocols.core.kernels.cpu.compiler import Array, compiled

_HALF_WORD_BYTES = 4


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


def shift_right(x: Array, shift: int, bits: int) -> Array:
    """`_shift_right`, compiled."""
    out = np.empty_like(x)
    compiled(_shift_right)(x, shift, (1 << (bits - shift)) - 1, out)
    return out


def pack(x: Array, width: int) -> Array:
    """The `width` low bytes of every element. Shapes: int64 [n] -> uint8 [n * width]."""
    packed, words = _room(len(x), width)
    compiled(_pack)(x, words)
    return packed


def pack_sum(x: Array, y: Array, width: int) -> tuple[Array, Array]:
    """x + y, and its bytes as `pack` gives them. Shapes: int64 [n], [n]."""
    total = np.empty_like(x)
    packed, words = _room(len(x), width)
    compiled(_pack_sum)(x, y, total, words)
    return total, packed


def pack_difference(x: Array, y: Array, width: int) -> Array:
    """The bytes of x - y. Shapes: int64 [n], [n]."""
    packed, words = _room(len(x), width)
    compiled(_pack_difference)(x, y, words)
    return packed


def unpack(packed: Array, width: int, *, half: bool = False) -> Array:
    """Inverse of `pack`. Shapes: uint8 [n * width] -> int64 [n], int32 where half words were asked for."""
    x = np.empty(len(packed) // width, dtype=np.int32 if half else np.int64)
    if half and width == _HALF_WORD_BYTES:
        x.view(np.uint8)[:] = packed
        return x
    mask = -1 if width == 8 else (1 << 8 * width) - 1
    for part, words in _words_of(packed, width):
        compiled(_unpack)(words, mask, x[part])
    return x


def unpack_added(packed: Array, y: Array, width: int, mask: int) -> Array:
    """(unpacked + y) & mask. Shapes: uint8 [n * width], int64 [n] -> int64 [n]."""
    x = np.empty_like(y)
    for part, words in _words_of(packed, width):
        compiled(_unpack_added)(words, mask, y[part], x[part])
    return x


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
