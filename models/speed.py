"""How fast this machine does what parties do, in less than a second: three kernels, for three kinds of work.

A round is a message to another thread and one back, with a sum on the way; bytes are expanded from a seed and packed
for the wire; multiplications are those of a product of matrices in the ring. What a session computes is more than that,
so the figures say how two machines compare, and not what a session takes.
"""

from __future__ import annotations

import os
import queue
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from secure.protocols.core import ring
from secure.protocols.core.prg import Prg

_REPEATS = 7
_ROUNDS = 100
_SIDE = 192
_WORDS = 1 << 16
_BITS = 48


@dataclass(frozen=True)
class Speed:
    """Seconds of one round, of one byte and of one multiplication, each by its kernel on one core."""

    round_seconds: float
    byte_seconds: float
    multiplication_seconds: float


def measure_speed() -> Speed:
    """The medians of some runs, after one that warms up: of a machine as busy as it is now."""
    return Speed(
        _median(_rounds) / _ROUNDS,
        _median(_bytes) / (_WORDS * ring.element_bytes(_BITS)),
        _median(_products) / _SIDE**3,
    )


def _median(kernel: Callable[[], float]) -> float:
    kernel()
    return statistics.median(kernel() for _ in range(_REPEATS))


def _rounds() -> float:
    there, back = queue.SimpleQueue[bytes](), queue.SimpleQueue[bytes]()
    x = torch.arange(64)

    def answer() -> None:
        for _ in range(_ROUNDS):
            back.put(added(there.get()))

    def added(message: bytes) -> bytes:
        return bytes(ring.pack(ring.add(ring.unpack(message, (64,), _BITS, x.device), x), _BITS).numpy())

    other = threading.Thread(target=answer, daemon=True)
    other.start()
    message = added(bytes(64 * ring.element_bytes(_BITS)))
    began = time.perf_counter()
    for _ in range(_ROUNDS):
        there.put(message)
        message = added(back.get())
    seconds = time.perf_counter() - began
    other.join()
    return seconds


def _bytes() -> float:
    prg = Prg(os.urandom(16), os.urandom(16))
    began = time.perf_counter()
    ring.pack(prg.words(0, 0, (_WORDS,), torch.device("cpu"), _BITS), _BITS)
    return time.perf_counter() - began


def _products() -> float:
    factor = torch.arange(_SIDE * _SIDE).reshape(_SIDE, _SIDE)
    began = time.perf_counter()
    ring.matmul(factor, factor)
    return time.perf_counter() - began
