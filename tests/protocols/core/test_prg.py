"""The generator of masks: the exact stream, and that no address serves twice."""

from __future__ import annotations

import hashlib

import pytest
import torch
from Crypto.Cipher import AES

from secure.protocols.core.errors import ProtocolError
from secure.protocols.core.prg import Prg

SEED, SESSION = bytes(range(16)), b"one session"
CPU = torch.device("cpu")


def expected(seed: bytes, session: bytes, gate: int, label: int, count: int) -> bytes:
    """Counter mode spelled out block by block: the cipher applied to nonce and counter."""
    key = hashlib.sha256(b"secure-inference prg 1" + seed + session).digest()[:16]
    cipher = AES.new(key, AES.MODE_ECB)
    nonce = gate.to_bytes(8, "big") + label.to_bytes(4, "big")
    blocks = (cipher.encrypt(nonce + counter.to_bytes(4, "big")) for counter in range((count + 15) // 16))
    return b"".join(blocks)[:count]


@pytest.mark.parametrize(("gate", "label"), [(0, 0), (0, 1), (7, 3), (2**40, 2**31)])
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1000])
def test_known_answer(gate: int, label: int, count: int) -> None:
    assert Prg(SEED, SESSION).stream(gate, label, count).tobytes() == expected(SEED, SESSION, gate, label, count)


def test_long_streams_continue_across_chunks() -> None:
    count = (1 << 18) * 2 + 5
    assert Prg(SEED, SESSION).stream(1, 2, count).tobytes() == expected(SEED, SESSION, 1, 2, count)


def test_every_part_of_the_address_matters() -> None:
    streams = {
        Prg(seed, session).stream(gate, label, 32).tobytes()
        for seed in (SEED, SEED[::-1])
        for session in (SESSION, b"another session")
        for gate in (0, 1)
        for label in (0, 1)
    }
    assert len(streams) == 16


@pytest.mark.parametrize("second", [(3, 2), (3, 1), (2, 9), (0, 0)])
def test_an_address_serves_once(second: tuple[int, int]) -> None:
    generator = Prg(SEED, SESSION)
    generator.stream(3, 2, 8)
    with pytest.raises(ProtocolError, match="already used"):
        generator.stream(*second, 8)
    generator.stream(3, 3, 8)
    generator.stream(4, 0, 8)


def test_a_prefix_is_independent_of_the_count() -> None:
    assert Prg(SEED, SESSION).stream(1, 1, 64)[:7].tobytes() == Prg(SEED, SESSION).stream(1, 1, 7).tobytes()


def test_words_and_planes() -> None:
    words = Prg(SEED, SESSION).words(0, 1, (2, 3), CPU)
    assert words.shape == (2, 3) and words.dtype == torch.int64
    assert words.numpy().tobytes() == expected(SEED, SESSION, 0, 1, 48)
    planes = Prg(SEED, SESSION).planes(0, 1, (3, 5), CPU)
    assert planes.shape == (3, 5) and planes.dtype == torch.uint8
    assert planes.numpy().tobytes() == expected(SEED, SESSION, 0, 1, 15)


@pytest.mark.parametrize("seed", [b"", bytes(15), bytes(32)])
def test_seeds_of_another_length_are_refused(seed: bytes) -> None:
    with pytest.raises(ProtocolError, match="16 bytes"):
        Prg(seed, SESSION)


def test_one_address_has_a_limit() -> None:
    with pytest.raises(ProtocolError, match="do not fit"):
        Prg(SEED, SESSION).stream(0, 0, (16 << 32) + 1)


def test_the_seed_is_not_shown() -> None:
    shown = repr(Prg(SEED, SESSION))
    assert SEED.hex() not in shown and repr(SEED) not in shown
