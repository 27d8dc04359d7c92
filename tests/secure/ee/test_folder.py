"""Folders as streams: the format, the memory, and outputs that appear whole or not at all."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from secure.ee.files.folder import TensorFolder, new_folder, write_tensors
from secure.models.checkpoint.folder import file_digest
from secure.models.contract.tensor_file import FileTensorSpec, TensorFile
from secure.protocols.core.errors import CheckpointError, ConfigurationError, ProtocolError


def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {
        "a": torch.randn(3, 5),
        "b": torch.randn(2, 2, 2, dtype=torch.float64),
        "c": torch.randn(7).to(torch.bfloat16),
        "d": torch.randn(1, 4).to(torch.float16),
        "none": torch.empty(0, 4),
    }


def specs() -> dict[str, FileTensorSpec]:
    return {name: FileTensorSpec(tuple(tensor.shape), tensor.dtype) for name, tensor in tensors().items()}


@pytest.mark.parametrize("shard_bytes", [1 << 30, 70, 1])
def test_what_is_written_is_read_by_safetensors_and_by_us(tmp_path: Path, shard_bytes: int) -> None:
    digests = write_tensors(tmp_path, specs(), tensors().__getitem__, shard_bytes=shard_bytes)
    folder = TensorFolder(tmp_path)
    found = {name: tensor for path in folder.files for name, tensor in load_file(path).items()}
    assert found.keys() == tensors().keys() == folder.specs.keys()
    for name, tensor in tensors().items():
        assert torch.equal(found[name], tensor) and torch.equal(folder(name), tensor)
        assert folder.specs[name] == specs()[name]
    assert digests == {path.name: file_digest(path) for path in tmp_path.iterdir()}
    assert len(folder.files) == {1 << 30: 1, 70: 3, 1: 5}[shard_bytes]


def test_values_are_rounded_once(tmp_path: Path) -> None:
    exact = torch.tensor([1 / 3, 1e-3], dtype=torch.float64)
    write_tensors(tmp_path, {"a": FileTensorSpec((2,), torch.bfloat16)}, lambda _: exact)
    assert torch.equal(TensorFolder(tmp_path)("a"), exact.to(torch.bfloat16))


def test_a_type_that_cannot_hold_the_values_is_refused(tmp_path: Path) -> None:
    for number, value in enumerate((1e6, -1e6, torch.nan)):
        values = torch.tensor([0.0, value, 1.0])
        (tmp_path / str(number)).mkdir()
        with pytest.raises(CheckpointError, match="'a' is not finite in F16"):
            write_tensors(tmp_path / str(number), {"a": FileTensorSpec((3,), torch.float16)}, lambda _, v=values: v)


def test_a_tensor_file_takes_what_was_declared_and_all_of_it(tmp_path: Path) -> None:
    for number, (name, tensor) in enumerate({"b": torch.zeros(2), "a": torch.zeros(3)}.items()):
        with (
            pytest.raises(ProtocolError),
            TensorFile(tmp_path / str(number), {"a": FileTensorSpec((2,), torch.float32)}) as file,
        ):
            file.write(name, tensor)
    with pytest.raises(ProtocolError, match="1 tensors"), TensorFile(tmp_path / "2", specs() | {}) as file:
        for name in list(specs())[:-1]:
            file.write(name, tensors()[name])


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_an_interrupted_folder_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def interrupted(name: str) -> torch.Tensor:
        if name == "c":
            raise error
        return tensors()[name]

    with pytest.raises(error), new_folder(tmp_path / "deep" / "out") as folder:
        write_tensors(folder, specs(), interrupted, shard_bytes=10)
    assert list((tmp_path / "deep").iterdir()) == []


def test_the_name_appears_when_all_is_there(tmp_path: Path) -> None:
    with new_folder(tmp_path / "out") as folder:
        (folder / "file").write_text("x")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out" / "file").read_text() == "x"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_private_folder_is_for_its_owner(tmp_path: Path) -> None:
    with new_folder(tmp_path / "out", private=True):
        pass
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700


def test_an_empty_folder_is_taken_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with new_folder(tmp_path / "empty") as folder:
        (folder / "file").touch()
    for name, words in (("empty", "is not empty"), ("empty/file", "is no folder")):
        with pytest.raises(ConfigurationError, match=words), new_folder(tmp_path / name):
            pass


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be written"), new_folder(tmp_path / "file" / "out"):
        pass


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(2, dtype=torch.int8)}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="encrypt the unquantised one first, then quantise"):
        TensorFolder(tmp_path)


def test_buffers_are_no_weights(tmp_path: Path) -> None:
    buffers = {
        "embeddings.position_ids": torch.arange(4),
        "h.0.attn.bias": torch.ones(2, 2, dtype=torch.uint8),
    }
    save_file({"w": torch.zeros(2), **buffers}, tmp_path / "model.safetensors")
    assert list(TensorFolder(tmp_path).specs) == ["w"]


def test_counters_of_batches_stay_whole_numbers(tmp_path: Path) -> None:
    save_file({"bn.num_batches_tracked": torch.tensor(3)}, tmp_path / "model.safetensors")
    folder = TensorFolder(tmp_path)
    assert folder.specs["bn.num_batches_tracked"] == FileTensorSpec((), torch.int64)
    assert folder("bn.num_batches_tracked").equal(torch.tensor(3))


def test_broken_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        TensorFolder(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(CheckpointError, match="pickled"):
        TensorFolder(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    for name in ("gone.safetensors", "../outside.safetensors"):
        index.write_text(json.dumps({"weight_map": {"w": name}}))
        with pytest.raises(CheckpointError, match="not in the folder"):
            TensorFolder(tmp_path)
    index.unlink()
    save_file(tensors(), tmp_path / "model.safetensors")
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-3])
    with pytest.raises(CheckpointError, match="no safetensors file, or not a whole one"):
        TensorFolder(tmp_path)


MEASURE = """
import resource, sys, torch
from pathlib import Path
from secure.ee.files.folder import TensorFolder, write_tensors
from secure.models.contract.tensor_file import FileTensorSpec
for count in (4, 36):
    before, after = (Path(sys.argv[1]) / f"{name}{count}" for name in ("before", "after"))
    before.mkdir(); after.mkdir()
    specs = {f"w{i}": FileTensorSpec((1024, 1024), torch.float32) for i in range(count)}
    write_tensors(before, specs, lambda name: torch.ones(1024, 1024))
    source = TensorFolder(before)
    write_tensors(after, specs, lambda name: source(name).double() * 2)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_is_bounded_by_the_largest_tensor(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEASURE, str(tmp_path)]
    few, many = map(int, subprocess.run(command, check=True, capture_output=True).stdout.split())
    # 32 tensors more are 128 MiB more in each of two files; the peak may grow by what one needs.
    assert many - few < 40 * 1024
