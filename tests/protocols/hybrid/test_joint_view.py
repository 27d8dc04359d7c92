"""What one party sees in a session, all together: for every element its masked bits and labels, and what follows.

Each element of a tensor is a sample, as all have masks and labels of their own. Columns are bits of what a party
receives for an element, beside what it knows of that element. Circuits hide by their labels, as AES is an ideal cipher;
that no test can show. What shows here is a mask or a label that serves twice, or is missing.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

pytest.importorskip("tenseal")

from secure.protocols.core import ring
from secure.protocols.core.secret import Protocol
from secure.protocols.functions.relu import relu
from secure.protocols.hybrid.garbled.engine import CHUNK
from secure.protocols.hybrid.protocol import HybridMaker, HybridParty
from secure.protocols.hybrid.secret import HybridSecret
from tests.in_process import encode, split
from tests.protocols.hybrid.two_parties import make, use
from tests.protocols.joint_view.finding import EXTRA, Bits, leanings, relations

WIDTH, LABEL_BITS, RESULT_BITS = 31, 128, 47
"""Bits of a ReLU's late input with the default policy, of a label, and of its input's and result's ring."""
LARGE = 17 * CHUNK
"""More than all columns: labels of 31 bits, and what is masked."""
SMALL = CHUNK


def program_of(elements: int) -> object:
    """ReLU of so many numbers, without a reveal; its result's share comes back."""

    def program(protocol: Protocol, shares: Sequence[Tensor | None]) -> Tensor:
        assert isinstance(protocol, HybridMaker | HybridParty)
        result = relu(protocol.input(shares[0], (elements,), 16))
        assert isinstance(result, HybridSecret)
        return result.share

    return program


def bits_of(raw: NDArray[np.uint8]) -> Bits:
    """Shapes: uint8 [elements, n] -> [elements, 8 n], lowest first."""
    return np.unpackbits(np.ascontiguousarray(raw), axis=1, bitorder="little")


def by_element(message: bytes, rows: int, unit_bits: int) -> Bits:
    """What lies chunk by chunk, in each row by row. Shapes: -> [elements, rows unit_bits]."""
    bits = np.unpackbits(np.frombuffer(message, np.uint8), bitorder="little")
    chunks = bits.reshape(-1, rows, CHUNK, unit_bits)
    return chunks.transpose(0, 2, 1, 3).reshape(-1, rows * unit_bits)


def masked_inputs(message: bytes, of_p1: Tensor) -> Bits:
    """x - r as P1 finds it: what P0 sends, and P1's own part of x."""
    found = ring.unpack_added(message, of_p1, RESULT_BITS)
    return bits_of(found.numpy().view(np.uint8).reshape(-1, 8))[:, :RESULT_BITS]


def nothing_shows(columns: Bits) -> None:
    assert len(columns) >= columns.shape[1] + EXTRA
    assert relations(columns) == []
    assert leanings(columns) == []


@pytest.mark.parametrize("value", [0.0, pytest.param(-1.5, marks=pytest.mark.slow)])
def test_what_the_owner_sees_as_evaluator(value: float) -> None:
    """x - r, a label of each late bit, and f + r' for every element of one and the same value."""
    program = program_of(LARGE)
    stocks, _ = make(program, 1)  # type: ignore[arg-type]
    shares = split(encode(torch.full((LARGE,), value).double()))
    used = use(program, stocks, [shares])  # type: ignore[arg-type]
    masked, *labels = used.sent[0]
    result = bits_of(used.results[1].numpy().view(np.uint8).reshape(-1, 8))[:, :RESULT_BITS]
    seen = [masked_inputs(masked, shares[1]), by_element(b"".join(labels), WIDTH, LABEL_BITS), result]
    nothing_shows(np.concatenate(seen, axis=1))


def test_what_the_client_sees_as_garbler() -> None:
    """P1's bits under their choices, beside the client's own mask of each input."""
    program = program_of(LARGE)
    stocks, _ = make(program, 1)  # type: ignore[arg-type]
    shares = split(encode(torch.zeros(LARGE).double()))
    used = use(program, stocks, [shares])  # type: ignore[arg-type]
    (late,) = used.sent[1]
    own = bits_of(shares[0].numpy().view(np.uint8).reshape(-1, 8))[:, :RESULT_BITS]
    # What it sent itself is its part of x less r, so it stands for r.
    seen = [by_element(late, WIDTH, 1), masked_inputs(used.sent[0][0], torch.zeros(LARGE).long()), own]
    nothing_shows(np.concatenate(seen, axis=1))


@pytest.mark.slow
def test_tables_of_circuits_beside_labels() -> None:
    """The tables of eight gates, and of the wires that go into them the labels of eight bits."""
    program = program_of(LARGE)
    stocks, made = make(program, 1)  # type: ignore[arg-type]
    used = use(program, stocks, [split(encode(torch.zeros(LARGE).double()))])  # type: ignore[arg-type]
    labels = by_element(b"".join(used.sent[0][1:]), WIDTH, LABEL_BITS)[:, : 8 * LABEL_BITS]
    # Per element 106 gates of two labels each, then six bytes of colours for all of a batch.
    tables = [message for message in made.sent[0] if len(message) > CHUNK * 106 * 32]
    gates = [by_element(message[: len(message) // (106 * 32 + 6) * 106 * 32], 212, LABEL_BITS) for message in tables]
    nothing_shows(np.concatenate([labels, np.concatenate(gates)[:, : 16 * LABEL_BITS]], axis=1))


def test_a_stock_that_serves_twice_would_show() -> None:
    """With the same stock again, bits of two inputs differ by what the inputs do."""
    program = program_of(SMALL)
    stocks, _ = make(program, 1)  # type: ignore[arg-type]
    again = copy.deepcopy(stocks)
    seen = []
    for of, value in ((stocks, 0.0), (again, 1.0)):
        shares = split(encode(torch.full((SMALL,), value).double()))
        used = use(program, of, [shares])  # type: ignore[arg-type]
        seen.append(masked_inputs(used.sent[0][0], shares[1])[:, :17])
    found = relations(np.concatenate(seen, axis=1))
    assert len(found) == 17, "the lowest bits are equal, and the first that counts is another one"
