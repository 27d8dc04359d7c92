"""What passes between a client and the parties: how exact answers are, and inputs that no honest client sends."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from secure.models.checkpoint.conversion import Checkpoint, read_checkpoint, write_split
from secure.models.contract.exchange import due_outputs, input_payloads
from secure.models.contract.manifest import Manifest
from secure.models.contract.network import Inputs, Network
from secure.models.contract.request import Output, Request
from secure.models.graph.capture import capture
from secure.models.program import network
from secure.protocols.core.errors import CheckpointError, InputError, ProtocolError
from secure.protocols.families import family as family_named
from tests.families import FAMILIES, REPLICATED
from tests.in_process import Family, RoleFailure
from tests.models import runs
from tests.models.decoders import save_decoder, words

WIDTH, ROWS = 3, 12
PRIME = 2**31 - 1
Payloads = tuple[bytes, ...]
DIFFERENT = re.compile(r"the client gave p\d and p\d different shares of its input, where they must be equal")


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    chosen: Family = request.param
    return chosen


def rank(matrix: list[list[int]]) -> int:
    """Of an integer matrix modulo a prime, by elimination."""
    rows, found = [[value % PRIME for value in row] for row in matrix], 0
    for column in range(len(rows[0])):
        pivot = next((i for i in range(found, len(rows)) if rows[i][column]), None)
        if pivot is None:
            continue
        rows[found], rows[pivot] = rows[pivot], rows[found]
        inverse = pow(rows[found][column], -1, PRIME)
        for i in range(found + 1, len(rows)):
            factor = rows[i][column] * inverse % PRIME
            rows[i] = [(a - factor * b) % PRIME for a, b in zip(rows[i], rows[found], strict=True)]
        found += 1
    return found


def linear() -> Checkpoint:
    torch.manual_seed(5)
    return capture(nn.Linear(WIDTH, ROWS).eval(), torch.randn(ROWS, WIDTH))


def answers_of(
    given: Inputs, checkpoint: Checkpoint, output: Output, folder: Path, family: Family
) -> dict[str, Tensor]:
    """The client's integers, before it makes numbers of them."""
    seen: dict[str, Tensor] = {}

    def as_integers(net: Network, request: Request, payloads: Payloads, step: int = 0) -> dict[str, Tensor]:
        seen.update(family_named(family.name).reconstruct(payloads, due_outputs(net, request, step)))
        return seen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "step_outputs", as_integers)
        runs.secure_run(checkpoint, folder, output, given, family)
    return seen


def test_answers_do_not_tell_the_rank_of_the_last_matrix(family: Family, tmp_path: Path) -> None:
    """Exact products of rank-4 factors (three columns and the bias) have rank 4; rounded ones have full rank."""
    (answers,) = answers_of({"input": torch.randn(ROWS, WIDTH)}, linear(), "hidden", tmp_path, family).values()
    assert rank(answers.tolist()) == ROWS
    assert answers.abs().max() < 2**22  # of numbers below 64, at 16 fraction bits


def test_answers_leave_with_the_bits_that_the_owner_sets(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bits, given, checkpoint = 4, torch.randn(ROWS, WIDTH), linear()
    monkeypatch.setattr(runs, "write_split", partial(write_split, output_bits=bits))
    (coarse,) = answers_of({"input": given}, checkpoint, "hidden", tmp_path / "coarse", family).values()
    monkeypatch.setattr(runs, "write_split", write_split)
    (fine,) = answers_of({"input": given}, checkpoint, "hidden", tmp_path / "fine", family).values()
    difference = coarse - fine / 2.0 ** (16 - bits)
    assert float(difference.abs().max()) <= 1.01, "one of the two units next to it"
    assert float(difference.mean().abs()) < 0.25, "as often the one above as the one below"
    with pytest.raises(CheckpointError, match="outputs have 1 to 16 fraction bits, the policy's; not 17"):
        write_split(checkpoint, tmp_path / "none", output_bits=17)
    manifest = write_split(checkpoint, tmp_path / "split", output_bits=bits)
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.digest != write_split(checkpoint, tmp_path / "other").digest


@pytest.mark.slow
def test_logits_do_not_tell_the_hidden_size(family: Family, tmp_path: Path) -> None:
    model = save_decoder(tmp_path / "model", "llama", max_position_embeddings=64)
    given = {"input_ids": words(1, 48)}
    logits = answers_of(given, read_checkpoint(tmp_path / "model"), "logits", tmp_path / "split", family)["logits"][0]
    assert rank(logits.tolist()) == min(logits.shape) > model.config.hidden_size


def _random(payloads: Payloads) -> Payloads:
    return tuple(os.urandom(len(payload)) for payload in payloads)


def _another_half(payloads: Payloads) -> Payloads:
    return (os.urandom(len(payloads[0])), *payloads[1:])


def _largest_words(payloads: Payloads) -> Payloads:
    return (payloads[0], *(b"\xff" * len(payload) for payload in payloads[1:]))


def _short(payloads: Payloads) -> Payloads:
    return (payloads[0], payloads[1][:-1], *payloads[2:])


def run_with(change: Callable[[Payloads], Payloads], folder: Path, family: Family) -> Mapping[str, Tensor]:
    """One prediction for a client whose payloads are changed."""

    def changed(net: Network, request: Request, inputs: Inputs, tables: Mapping[str, Tensor], step: int) -> Payloads:
        return change(input_payloads(net, request, inputs, tables, step))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "input_payloads", changed)
        return runs.secure_run(linear(), folder, "hidden", {"input": torch.randn(ROWS, WIDTH)}, family)


@pytest.mark.parametrize("change", [_random, _another_half, _largest_words])
def test_inconsistent_inputs_crash_no_party(
    change: Callable[[Payloads], Payloads], family: Family, tmp_path: Path
) -> None:
    """Every word is a word of the ring, and halves of two inputs are shares of a third: it gets an answer, to nothing.

    With three parties each part is held by two of them, who compare, and the client is told.
    """
    if family.name == "beaver":
        (answer,) = run_with(change, tmp_path, family).values()
        assert answer.shape == (ROWS, ROWS)
        return
    with pytest.raises((InputError, RoleFailure)) as caught:
        run_with(change, tmp_path, family)
    errors = caught.value.errors.values() if isinstance(caught.value, RoleFailure) else [caught.value]
    found = [str(error) for error in errors if isinstance(error, InputError)]
    assert found and all(DIFFERENT.match(text) for text in found)


@pytest.mark.parametrize("holder", [0, 1, 2])
@pytest.mark.parametrize("piece", [0, 1])
def test_a_part_that_differs_at_one_holder_is_found(holder: int, piece: int, tmp_path: Path) -> None:
    """One bit of either of its two parts: another party has the part that it was."""

    def change(payloads: Payloads) -> Payloads:
        changed = bytearray(payloads[holder])
        changed[0 if piece == 0 else -1] ^= 1
        return (*payloads[:holder], bytes(changed), *payloads[holder + 1 :])

    with pytest.raises((InputError, RoleFailure)) as caught:
        run_with(change, tmp_path, REPLICATED)
    errors = caught.value.errors if isinstance(caught.value, RoleFailure) else {"": caught.value}
    other = (holder - 1 if piece == 0 else holder + 1) % 3
    named = f"gave p{holder} and p{other} different", f"gave p{other} and p{holder} different"
    found = [str(error) for error in errors.values() if isinstance(error, InputError)]
    assert found and all(any(pair in text for pair in named) for text in found)


def test_an_input_of_another_size_is_refused_before_anything_is_computed(family: Family, tmp_path: Path) -> None:
    manifest = write_split(linear(), tmp_path, protocol=family.name)
    net, ends = network(manifest), family_named(family.name)
    inputs = {"input": torch.randn(ROWS, WIDTH)}
    request = net.request("hidden", inputs)
    payloads = _short(input_payloads(net, request, inputs, {}))
    with pytest.raises(ProtocolError, match=r"the client's payload has \d+ bytes, due are"):
        ends.open_payload(1, payloads[1], net.input_specs(request, 0))
