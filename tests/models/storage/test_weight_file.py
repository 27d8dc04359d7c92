"""Matrices on a disk: the same numbers as in memory, nothing readable in the file, and clear words when it fails."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from secure.models.checkpoint.conversion import read_checkpoint, read_share, write_split
from secure.models.contract.exchange import input_payloads
from secure.models.contract.manifest import WeightVisibility
from secure.models.program import load, network, serve
from secure.models.storage.weight_file import Room, WeightFile
from secure.protocols.core import factor, ring
from secure.protocols.core.errors import CheckpointError
from secure.protocols.core.secret import Protocol
from tests.families import REPLICATED
from tests.in_process import BEAVER, Family, GivenSteps
from tests.models.decoders import save_decoder, words
from tests.models.runs import party_index
from tests.parties.local import eventually
from tests.three_parties import party_seeds

Save = Callable[..., tuple[Path, Any]]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one to a few rows, so that every matrix has several."""
    monkeypatch.setattr("secure.models.storage.weight_file.BLOCK_BYTES", 4000)


def numbers(*shape: int) -> Tensor:
    return torch.randint(-(2**63), 2**63 - 1, shape)


@pytest.mark.parametrize("few_rows", [True, False])
@pytest.mark.parametrize("bits", [64, 48, 24])
@pytest.mark.parametrize("in_memory", [0, 20_000, 1 << 30])
def test_products_are_those_of_memory(few_rows: bool, bits: int, in_memory: int, tmp_path: Path) -> None:
    matrices = [[numbers(50, 40), numbers(50, 40)], [numbers(3, 700)], [numbers(1, 1)], [numbers(130, 7)]]
    weights = WeightFile(tmp_path, Room(in_memory, 40_000, 20_000), few_rows=few_rows)
    kept = [weights.keep(ys, bits) for ys in matrices]
    weights.finish()
    for _ in range(3):
        for ys, found in zip(matrices, kept, strict=True):
            xs = [numbers(2, 5, len(y)) for y in ys]
            due = factor.prepare(ys, bits, few_rows=few_rows).product(xs, bits)
            assert torch.equal(ring.low(found.product(xs, bits), bits), ring.low(due, bits))
    assert weights._kept_bytes <= in_memory
    assert weights._file.blocks == 1 if in_memory == 1 << 30 else weights._file.blocks > 3


def test_what_stays_in_memory_is_spread_over_the_model(tmp_path: Path) -> None:
    weights = WeightFile(tmp_path, Room(100_000, 300_000, 20_000), few_rows=True)
    for _ in range(10):
        before, written = weights._kept_bytes, weights._file.blocks
        weights.keep([numbers(50, 100)], 64)
        assert weights._kept_bytes > before and weights._file.blocks > written
    assert 90_000 < weights._kept_bytes <= 100_000


def test_the_file_has_no_name_and_nothing_in_it_can_be_read(tmp_path: Path) -> None:
    weights = WeightFile(tmp_path, Room(0, 100_000, 20_000), few_rows=True)
    matrix = torch.full((32, 16), 0x1122334455667788)
    weights.keep([matrix], 64)
    weights.keep([matrix], 64)
    weights.finish()
    assert list(tmp_path.iterdir()) == []
    descriptor = weights._file._descriptor
    assert os.fstat(descriptor).st_nlink == 0
    assert os.fstat(descriptor).st_mode & 0o077 == 0
    with open(f"/proc/self/fd/{descriptor}", "rb") as file:
        stored = file.read()
    first, second = stored[:4096], stored[4096:8192]
    assert bytes.fromhex("8877665544332211") not in stored
    assert first != second, "equal blocks are encrypted differently"
    counts = torch.bincount(torch.frombuffer(bytearray(first + second), dtype=torch.uint8).long(), minlength=256)
    assert int(counts.max()) < 32 + 6 * 32**0.5, "about 32 of every byte"
    again = WeightFile(tmp_path, Room(0, 100_000, 20_000), few_rows=True)
    again.keep([matrix], 64)
    with open(f"/proc/self/fd/{again._file._descriptor}", "rb") as file:
        assert file.read(4096) != first, "every file has a key of its own"
    assert "key" not in repr(weights._file)


def test_everything_goes_with_the_last_matrix(tmp_path: Path) -> None:
    weights = WeightFile(tmp_path, Room(0, 100_000, 20_000))
    kept = weights.keep([numbers(50, 40)], 64)
    weights.finish()
    for _ in range(2):
        kept.product([numbers(1, 50)], 64)
    file, descriptor = weakref.ref(weights._file), weights._file._descriptor
    del weights
    kept.product([numbers(1, 50)], 64)
    del kept
    # What is being read is read to its end.
    eventually(lambda: file() is None)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"cannot be written in {tmp_path}: .*; TMPDIR names another folder"):
        WeightFile(tmp_path, Room(0, 1 << 60, 20_000))
    with pytest.raises(CheckpointError, match=r"cannot be written in .*No such file"):
        WeightFile(tmp_path / "absent", Room(0, 1000, 20_000))


def test_a_disk_that_fails_later_says_so(tmp_path: Path) -> None:
    weights = WeightFile(tmp_path, Room(0, 100_000, 20_000))
    kept = weights.keep([numbers(50, 40)], 64)
    weights.finish()
    os.ftruncate(weights._file._descriptor, 4096)
    with pytest.raises(CheckpointError, match=r"cannot be read back in .*the file ends early"):
        kept.product([numbers(1, 50)], 64)


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
@pytest.mark.parametrize(
    ("family", "weights"),
    [(BEAVER, "private"), (BEAVER, "server"), (BEAVER, "public"), (REPLICATED, "private"), (REPLICATED, "public")],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_sessions_are_those_of_memory_bit_for_bit(
    family: Family, weights: WeightVisibility, kind: str, save_bert: Save, tmp_path: Path
) -> None:
    """With the same seeds every message is the same, of loading and of two sessions, wherever the matrices lie."""
    if kind == "gpt2":
        save_decoder(tmp_path / "model", "gpt2")
    checkpoint = read_checkpoint(tmp_path / "model" if kind == "gpt2" else save_bert()[0], weights=weights)
    # What one-hot vectors are checked with is drawn from the operating system.
    manifest = write_split(checkpoint, tmp_path / "split", protocol=family.name, checks_one_hot=False)
    given = [{"input_ids": words(2, 3)}, {"input_ids": words(2, 1)}][: 2 if kind == "gpt2" else 1]
    net = network(manifest)
    request = net.request("next_logits" if kind == "gpt2" else "hidden", given[0], steps=len(given))
    payloads = [input_payloads(net, request, inputs, checkpoint.embeddings, i) for i, inputs in enumerate(given)]
    files: list[WeightFile] = []

    def program(protocol: Protocol, on_disk: bool) -> Any:
        index = party_index(protocol)
        shares = None if index is None else read_share(tmp_path / f"split/p{index}.safetensors", manifest, f"p{index}")
        # Half of it stays in memory.
        kept = WeightFile(tmp_path, Room(10_000, 10_000, 20_000), few_rows=net.few_rows) if on_disk else None
        model = load(protocol, manifest, shares, kept and kept.keep)
        if kept is not None:
            kept.finish()
            files.append(kept)
        client = GivenSteps(*(b"" if index is None else pair[index] for pair in payloads))
        with torch.inference_mode():
            serve(protocol, model, request, client, index)
        return client.outputs

    seeds: dict[str, Any] = {"seeds": party_seeds()}
    if family is BEAVER:
        seeds = {"seeds": (os.urandom(16), os.urandom(16)), "common_seed": os.urandom(16)}
    runs = [
        family.run(lambda protocol, _, at=on_disk: program(protocol, at), [], session=b"a session", **seeds)
        for on_disk in (False, True)
    ]
    (due, _, sent), (found, _, sent_again) = runs
    assert found == due
    assert sent_again == sent
    with_matrices = 2 if family is BEAVER and weights == "public" else 3
    assert sum(file._file.blocks > 10 for file in files) == with_matrices
