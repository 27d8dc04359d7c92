"""Models that are written and read again: every message of a session stays what it was, and nothing is prepared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from secure.models import program
from secure.models.checkpoint.conversion import read_checkpoint
from secure.models.contract.manifest import WeightVisibility
from secure.models.storage import kept_model
from secure.models.storage.kept_model import Kept
from secure.models.storage.weight_file import Room, WeightFile
from secure.protocols.core.channel import Payload
from secure.protocols.core.errors import DamagedFile, ProtocolError
from secure.protocols.core.factor import Keep, prepare, prepare_apart
from secure.protocols.core.secret import Parameter
from secure.protocols.core.transfer import CPU
from secure.protocols.hybrid import weights as hybrid
from secure.protocols.masked.weights import Matrix, PublicWeight, Weight
from secure.protocols.witnessed.secret import PreparedParts
from tests.models.decoders import words
from tests.models.test_ahead import Loaded

Save = Callable[..., tuple[Path, Any]]


class Messages(Kept):
    """What was written, in memory."""

    def __init__(self, messages: Iterator[Payload]) -> None:
        self.left = [bytes(message) for message in messages]

    def message(self) -> memoryview:
        return memoryview(self.left.pop(0))

    def fill(self, buffer: memoryview) -> None:
        buffer[:] = self.left.pop(0)


def again(model: program.LoadedModel, place: kept_model.Place | None = None) -> program.LoadedModel:
    """The model, written and read."""
    kept = Messages(kept_model.written(model.weights, CPU))
    weights = kept_model.read(kept, CPU, place)
    assert kept.left == []
    return replace(model, weights=weights)


def loaded(save_bert: Save, folder: Path, weights: WeightVisibility = "private", keep: Keep = prepare_apart) -> Loaded:
    # What one-hot vectors are checked with is drawn from the operating system.
    return Loaded(
        read_checkpoint(save_bert()[0], weights=weights), folder, "hidden", [{"input_ids": words(2, 3)}], keep
    )


@pytest.mark.parametrize("keep", [prepare, prepare_apart], ids=["together", "apart"])
@pytest.mark.parametrize("weights", ["private", "server", "public"])
def test_sessions_are_the_same_bit_for_bit(
    weights: WeightVisibility, keep: Keep, save_bert: Save, tmp_path: Path
) -> None:
    parties = loaded(save_bert, tmp_path / "split", weights, keep)
    due = parties.serve()
    parties.models = {index: again(model) for index, model in parties.models.items()}
    assert parties.serve() == due


@pytest.mark.parametrize("digits", [True, False])
def test_both_forms_of_factors_come_back(digits: bool, save_bert: Save, tmp_path: Path) -> None:
    def keep(ys: Any, bits: int) -> Any:
        return prepare(ys, bits, digits=digits)

    parties = loaded(save_bert, tmp_path / "split", keep=keep)
    due = parties.serve()
    parties.models = {index: again(model) for index, model in parties.models.items()}
    assert parties.serve() == due


def test_blocks_go_to_a_disk_and_come_from_one(
    save_bert: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secure.models.storage.weight_file.BLOCK_BYTES", 4000)
    files: list[WeightFile] = []

    def on_disk() -> WeightFile:
        files.append(WeightFile(tmp_path, Room(10_000, 10_000, 200_000)))
        return files[-1]

    parties = loaded(save_bert, tmp_path / "split", keep=prepare)
    due = parties.serve()
    # Twice: from memory to a file, and from that file to another one.
    for _ in range(2):
        for index, model in parties.models.items():
            file = on_disk()
            parties.models[index] = again(model, file.place)
            file.finish()
        assert parties.serve() == due
    assert all(file._file.blocks > 2 for file in files)


def test_what_the_owner_of_a_model_keeps_comes_back() -> None:
    parameter = Parameter((3, 4), 6, 30, opened=True)
    values = torch.randint(-99, 99, (3, 4))
    kept = {
        "matrix": hybrid.prepared(parameter, values, prepare),
        "shape": hybrid.prepared(parameter, None, prepare),
        "bias": hybrid.prepared(Parameter((3, 4), 6, 30), values, prepare),
    }
    found = kept_model.read(Messages(kept_model.written(kept, CPU)), CPU, None)
    assert np.array_equal(found["matrix"].numbers, kept["matrix"].numbers)
    x = torch.randint(-99, 99, (2, 3))
    assert torch.equal(found["matrix"].factor.product([x], 32), kept["matrix"].factor.product([x], 32))
    assert torch.equal(found["bias"].values, values)
    assert (found["shape"].factor, found["shape"].numbers, found["shape"].shape) == (None, None, (3, 4))


def test_what_another_version_or_processor_wrote_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = Weight(torch.arange(3), None, 16, 64)
    written = list(kept_model.written({"x": weight}, CPU))
    with monkeypatch.context() as patch:
        patch.setattr(kept_model, "multiplies_bytes", lambda device: "another form")
        with pytest.raises(DamagedFile, match="multiplies in another form"):
            kept_model.read(Messages(iter(written)), CPU, None)
    monkeypatch.setattr(kept_model, "_VERSION", 7)
    with pytest.raises(DamagedFile, match="another version"):
        kept_model.read(Messages(iter(written)), CPU, None)


def test_what_no_family_keeps_is_named() -> None:
    with pytest.raises(ProtocolError, match="a float, which is not kept"):
        list(kept_model.written({"x": 1.5}, CPU))
    assert Matrix in kept_model._KINDS.values()


def test_what_an_evaluator_has_twice_is_kept_once() -> None:
    """A public weight is the same for both of its parts; a private one is not."""
    public = PublicWeight(torch.arange(100), 16)
    own, following = (Weight(torch.randint(-99, 99, (3, 4)), None, 16, 64) for _ in range(2))
    kept = {"bias": PreparedParts((public, public)), "gain": PreparedParts((own, following))}
    messages = Messages(kept_model.written(kept, CPU))
    assert sum(len(message) == public.values.nbytes for message in messages.left) == 1
    found = kept_model.read(messages, CPU, None)
    first, second = found["bias"].parts
    assert first is second and torch.equal(first.values, public.values)
    for part, due in zip(found["gain"].parts, (own, following), strict=True):
        assert torch.equal(part.share, due.share)
