"""What an evaluator keeps of a matrix: a share of each of its two parts, and what was opened once for both."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from secure.models.storage import kept_model
from secure.protocols.core.factor import Factor, Keep, prepare, prepare_apart
from secure.protocols.core.primitives import linear
from secure.protocols.core.secret import Parameter, Protocol, Visibility
from secure.protocols.core.transfer import CPU
from secure.protocols.witnessed import footprint
from secure.protocols.witnessed.protocol import WitnessedParty
from secure.protocols.witnessed.secret import PreparedParts
from tests.four_roles import run_evaluators
from tests.models.storage.test_kept_model import Messages
from tests.three_parties import combine

ROWS, COLUMNS = 48, 32
PARAMETER = Parameter((ROWS, COLUMNS), 16, opened=True)
ONE = 8 * ROWS * COLUMNS
"""Bytes of a matrix in full words, or in eight digits."""


def digits(ys: Sequence[Tensor], bits: int) -> Factor:
    return prepare(ys, bits, digits=True)


def words(ys: Sequence[Tensor], bits: int) -> Factor:
    return prepare(ys, bits, digits=False)


def held_bytes(value: Any, seen: set[int]) -> int:
    """Bytes of all tensors that are reached from there, each counted once."""
    if isinstance(value, Tensor):
        storage = value.untyped_storage()
        new = storage.data_ptr() not in seen
        seen.add(storage.data_ptr())
        return storage.nbytes() if new else 0
    if isinstance(value, tuple):
        return sum(held_bytes(each, seen) for each in value)
    return sum(held_bytes(each, seen) for each in vars(value).values()) if hasattr(value, "__dict__") else 0


def loaded(keep: Keep, again: bool) -> tuple[dict[int, PreparedParts], Tensor]:
    """What evaluators keep, and a product with it. again: whether it is written and read in between."""
    x, y = (torch.randint(-9, 9, shape) << 16 for shape in ((3, ROWS), (ROWS, COLUMNS)))
    found: dict[int, PreparedParts] = {}
    lock = threading.Lock()

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        matrix = protocol.prepare(PARAMETER, shares[1], Visibility.PRIVATE, keep)
        if isinstance(protocol, WitnessedParty):
            if again:
                kept = Messages(kept_model.written({"matrix": matrix}, CPU))
                matrix = kept_model.read(kept, CPU, None)["matrix"]
            with lock:
                found[protocol.index] = matrix
        return protocol.reveal(linear(protocol.input(shares[0], (3, ROWS), 16), matrix, None))

    results, _, _ = run_evaluators(program, [x, y])
    error = combine(results) - ((x >> 16) @ (y >> 16) << 16)
    assert int(error.abs().max()) <= 2
    return found, error


@pytest.mark.parametrize("again", [False, True], ids=["loaded", "read again"])
@pytest.mark.parametrize("keep", [words, digits, prepare_apart], ids=["words", "digits", "apart"])
def test_what_was_opened_is_kept_once(keep: Keep, again: bool) -> None:
    """Two shares and one opened form, where each part by itself would keep two of each."""
    found, _ = loaded(keep, again)
    assert set(found) == {0, 1, 2}
    for matrix in found.values():
        held = held_bytes(matrix, set())
        assert held == 3 * ONE
        with_digits = keep is digits
        assert held == footprint.kept_bytes(PARAMETER, "p1", Visibility.PRIVATE, digits=with_digits)
        first, second = (part.factor for part in matrix.parts)
        assert first.alone(1) is second.alone(1) and first.alone(0) is not second.alone(0)
