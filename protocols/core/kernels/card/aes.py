"""AES-128 in counter mode on a card: the streams of `secure.protocols.core.aes`, made where they are used.

Each element of the loop is one block. A round takes one look-up a byte, in a table of S-box and column mix together,
as in Daemen and Rijmen, The Design of Rijndael, 2002. Words are little-endian, so that neither keys nor the
stream are turned around; only the counter is.
"""

from __future__ import annotations

from functools import cache, partial

import torch
import triton.language as tl
from torch import Tensor

from secure.protocols.core import aes
from secure.protocols.core.aes import Keystream
from secure.protocols.core.kernels.card.compiler import Block, Number, Pointer, launch, loop, places

_ROUNDS = 10
_BLOCK = 256
_BLOCK_BYTES = 16


def _round_keys(key: bytes, device: torch.device) -> Tensor:
    """The keys of all rounds. Shapes: 16 bytes -> int32 [44]. As secret as the key."""
    box = _substitution()
    words = [key[i : i + 4] for i in range(0, len(key), 4)]
    constant = 1
    for i in range(4, 4 * (_ROUNDS + 1)):
        last = words[-1]
        if i % 4 == 0:
            last = bytes(box[byte] for byte in last[1:] + last[:1])
            last = bytes([last[0] ^ constant]) + last[1:]
            constant = _doubled(constant)
        words.append(bytes(a ^ b for a, b in zip(words[i - 4], last, strict=True)))
    return torch.frombuffer(bytearray(b"".join(words)), dtype=torch.int32).to(device)


@aes.keystream.on_card
def keystream(key: bytes, device: torch.device) -> Keystream:
    """See `aes.keystream`."""
    return partial(_stream, _round_keys(key, device))


def _stream(keys: Tensor, gate: int, label: int, count: int) -> Tensor:
    """`count` bytes of a nonce's stream, from round keys. Shapes: int32 [44] -> uint8 [count]."""
    blocks = -(-count // _BLOCK_BYTES)
    stream = torch.empty(blocks * _BLOCK_BYTES, dtype=torch.uint8, device=keys.device)
    if blocks:
        words = stream.view(torch.int32)
        launch(_counter_mode, blocks, keys, _table(keys.device), words, gate, label, block=_BLOCK, rounds=_ROUNDS)
    return stream[:count]


def _doubled(x: int) -> int:
    """x times 2 in the field of 256 elements."""
    return x << 1 ^ (0x11B if x & 0x80 else 0)


@cache
def _substitution() -> bytes:
    """The S-box: the inverse in the field of 256 elements, then an affine map of its bits."""
    powers = [1]  # of the generator 3
    while len(powers) < 255:
        powers.append(powers[-1] ^ _doubled(powers[-1]))
    box = bytearray([0x63] * 256)
    for i, x in enumerate(powers):
        inverse = powers[-i % 255]
        turned = (inverse << k | inverse >> (8 - k) for k in range(5))
        for part in turned:
            box[x] ^= part & 0xFF
    return bytes(box)


@cache
def _table(device: torch.device) -> Tensor:
    """S(x) times the column (2, 1, 1, 3). Shapes: -> int32 [256]."""
    columns = bytearray()
    for s in _substitution():
        columns += bytes([_doubled(s), s, s, _doubled(s) ^ s])
    return torch.frombuffer(columns, dtype=torch.int32).to(device)


@loop
def _looked_up(table: Pointer, index: Block) -> Block:
    return tl.load(table + index.to(tl.int32)).to(tl.uint32, bitcast=True)


@loop
def _turned(x: Block, bits: tl.constexpr) -> Block:
    back: tl.constexpr = 32 - bits
    return (x << bits) | (x >> back)


@loop
def _reversed_bytes(x: Block) -> Block:
    x = x.to(tl.uint32)
    return ((x & 0xFF) << 24) | ((x & 0xFF00) << 8) | ((x >> 8) & 0xFF00) | (x >> 24)


@loop
def _mixed(table: Pointer, key: Pointer, a: Block, b: Block, c: Block, d: Block) -> Block:
    """One word after a round."""
    word = _looked_up(table, a & 0xFF) ^ _turned(_looked_up(table, (b >> 8) & 0xFF), 8)
    word ^= _turned(_looked_up(table, (c >> 16) & 0xFF), 16) ^ _turned(_looked_up(table, d >> 24), 24)
    return word ^ tl.load(key).to(tl.uint32, bitcast=True)


@loop
def _substituted(table: Pointer, key: Pointer, a: Block, b: Block, c: Block, d: Block) -> Block:
    """One word after the last round, which mixes no columns: S(x) alone, which the table has in its second byte."""
    word = (_looked_up(table, a & 0xFF) >> 8) & 0xFF
    word |= _looked_up(table, (b >> 8) & 0xFF) & 0xFF00
    word |= (_looked_up(table, (c >> 16) & 0xFF) << 8) & 0xFF0000
    word |= (_looked_up(table, d >> 24) << 16) & 0xFF000000
    return word ^ tl.load(key).to(tl.uint32, bitcast=True)


@partial(loop, any_value=("gate", "label"))
def _counter_mode(
    keys: Pointer,
    table: Pointer,
    stream: Pointer,
    gate: Number,
    label: Number,
    count: Number,
    rounds: tl.constexpr,
    block: tl.constexpr,
) -> None:
    i, inside = places(count, block)
    nothing = tl.zeros((block,), tl.uint32)
    a = nothing + _reversed_bytes(gate.to(tl.int64) >> 32)
    b = nothing + _reversed_bytes(gate)
    c = nothing + _reversed_bytes(label)
    d = _reversed_bytes(i)
    a ^= tl.load(keys).to(tl.uint32, bitcast=True)
    b ^= tl.load(keys + 1).to(tl.uint32, bitcast=True)
    c ^= tl.load(keys + 2).to(tl.uint32, bitcast=True)
    d ^= tl.load(keys + 3).to(tl.uint32, bitcast=True)
    for r in range(1, rounds):
        key = keys + 4 * r
        e = _mixed(table, key, a, b, c, d)
        f = _mixed(table, key + 1, b, c, d, a)
        g = _mixed(table, key + 2, c, d, a, b)
        d = _mixed(table, key + 3, d, a, b, c)
        a, b, c = e, f, g
    key = keys + 4 * rounds
    at = stream + 4 * i
    tl.store(at, _substituted(table, key, a, b, c, d).to(tl.int32, bitcast=True), mask=inside)
    tl.store(at + 1, _substituted(table, key + 1, b, c, d, a).to(tl.int32, bitcast=True), mask=inside)
    tl.store(at + 2, _substituted(table, key + 2, c, d, a, b).to(tl.int32, bitcast=True), mask=inside)
    tl.store(at + 3, _substituted(table, key + 3, d, a, b, c).to(tl.int32, bitcast=True), mask=inside)
