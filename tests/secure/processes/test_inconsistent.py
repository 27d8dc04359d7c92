"""Clients whose shares fit together in no honest way, at real parties. Whatever they get, the next one is served."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import secure
from secure import loaded_model
from secure.models.contract.exchange import input_payloads
from tests.secure.conftest import plain_embeddings
from tests.secure.running import Running

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("parties")]

Payloads = tuple[bytes, ...]
SENTENCES = ["the cat sat", "rain"]


def others_half(payloads: Payloads) -> Payloads:
    """P0 has a share of one input, the others of another one."""
    return (os.urandom(len(payloads[0])), *payloads[1:])


def largest_words(payloads: Payloads) -> Payloads:
    """Words that no number of the policy has."""
    return (payloads[0], *(b"\xff" * len(payload) for payload in payloads[1:]))


def short(payloads: Payloads) -> Payloads:
    return (payloads[0], payloads[1][:-1], *payloads[2:])


def last_bit(payloads: Payloads) -> Payloads:
    """One bit at the last party alone."""
    return (*payloads[:-1], payloads[-1][:-1] + bytes([payloads[-1][-1] ^ 1]))


def ask(running: Running, checkpoint: Path, change: Callable[[Payloads], Payloads], reference: Any) -> Any:
    """What a client gets whose payloads are changed; then an honest one asks for the same.

    With public weights, where clients choose no rows of a private table: what they choose is checked apart.
    """
    with secure.PrivateModel.from_pretrained(checkpoint, parties=running.parties, weights="public") as model:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loaded_model, "input_payloads", lambda *given: change(input_payloads(*given)))
            try:
                found: Any = model.encode(SENTENCES)
            except secure.errors.SecureInferenceError as error:
                found = error
        due = plain_embeddings(reference, model.tokenizer, SENTENCES)
        assert float((model.encode(SENTENCES) - due).abs().max()) < 5e-3, "the next client is served"
    return found


@pytest.mark.parametrize("change", [others_half, largest_words, last_bit])
def test_two_parties_compute_on_whatever_they_are_given(
    beaver: Running, checkpoint: Path, change: Callable[[Payloads], Payloads], reference: Any
) -> None:
    found = ask(beaver, checkpoint, change, reference)
    assert isinstance(found, torch.Tensor) and found.shape == (2, 24)


@pytest.mark.parametrize("change", [others_half, largest_words, last_bit])
def test_three_parties_compare_what_two_of_them_hold(
    replicated: Running, checkpoint: Path, change: Callable[[Payloads], Payloads], reference: Any
) -> None:
    found = ask(replicated, checkpoint, change, reference)
    assert type(found) is secure.errors.InputError
    assert "the client gave p" in str(found) and "different shares of its input" in str(found)


@pytest.mark.parametrize("family", ["beaver", "replicated"])
def test_an_input_of_another_size_is_refused(
    family: str, checkpoint: Path, reference: Any, request: pytest.FixtureRequest
) -> None:
    found = ask(request.getfixturevalue(family), checkpoint, short, reference)
    assert type(found) is secure.errors.ProtocolError
    assert "the client's payload has" in str(found)
