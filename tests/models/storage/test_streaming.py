"""A checkpoint is split tensor by tensor: how much memory that takes, and what is left when it fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from secure.models.checkpoint.conversion import (
    read_checkpoint,
    read_manifest,
    read_share,
    split_checkpoint,
    write_split,
)
from secure.models.contract.manifest import VISIBILITIES, WeightVisibility
from secure.models.contract.tensor_file import FileTensorSpec, TensorFile
from secure.models.families.bert_kin import BERT
from secure.models.program import LoadedModel, load
from secure.models.storage.capacity import check_disk, plan_room, share_bytes
from secure.protocols.core.errors import CheckpointError
from secure.protocols.core.factor import multiplies_bytes
from tests.checkout import ROOT
from tests.in_process import run_roles
from tests.models.runs import secure_run

Save = Callable[..., tuple[Path, Any]]
Usage = namedtuple("Usage", "total used free")

PROGRAM = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from secure.models.checkpoint.conversion import split_checkpoint
from secure.parties.roles.memory import loading
from tests.checkout import ROOT

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:")) * 1024

small, large, out, weights = sys.argv[1:]
split_checkpoint(small, Path(out) / "small", weights=weights)
before = peak()
with loading():  # as the command does
    split_checkpoint(large, Path(out) / "large", weights=weights)
print(peak() - before)
"""


def save_large(
    folder: Path, width: int, layers: int, dtype: torch.dtype, files: int = 1, *, largest: float = 0.02
) -> int:
    """A BERT of that size and with weights up to that, written without ever being in memory. Returns its bytes."""
    raw = {
        "model_type": "bert",
        "vocab_size": 50,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 4 * width,
        "max_position_embeddings": 16,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
    }
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(raw))
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str, shape: tuple[int, ...]) -> Tensor:
        shapes[name] = shape
        return torch.zeros(shape, device="meta")

    BERT.from_checkpoint(BERT.parse(raw), note)
    names = list(shapes)
    for i in range(files):
        specs = {name: FileTensorSpec(shapes[name], dtype) for name in names[i::files]}
        with TensorFile(folder / f"{i}.safetensors", specs) as file:
            for name, spec in specs.items():
                row = largest * torch.linspace(-1, 1, spec.shape[-1], dtype=dtype)
                file.write(name, row.expand(spec.shape))
    index = {"metadata": {}, "weight_map": {name: f"{i}.safetensors" for i in range(files) for name in names[i::files]}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def peak_of_splitting(folder: Path, weights: WeightVisibility, **sizes: Any) -> tuple[int, int]:
    """Bytes of a checkpoint, and what splitting it adds to a process's peak."""
    save_large(folder / "little", 8, 1, torch.float32)
    size = save_large(folder / "big", **sizes)
    arguments = [str(folder / "little"), str(folder / "big"), str(folder), weights]
    command = [sys.executable, "-P", "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=True)
    return size, int(done.stdout)


@pytest.mark.slow
def test_memory_is_that_of_the_largest_tensor(tmp_path: Path) -> None:
    # 20 layers of 0.79 million parameters, the largest tensor of 262,144: 2 MB in float64.
    size, peak = peak_of_splitting(tmp_path, "private", width=256, layers=20, dtype=torch.float32, files=3)
    assert size > 63e6 and peak < 30e6, f"a checkpoint of {size:,} bytes took {peak:,}"


@pytest.mark.slow
def test_memory_of_300_megabytes(tmp_path: Path) -> None:
    # The largest tensor has 4.2 million parameters: 34 MB in float64, four times that while it is read and encoded.
    size, peak = peak_of_splitting(tmp_path, "private", width=1024, layers=6, dtype=torch.float32)
    assert size > 300e6 and peak < 150e6, f"a checkpoint of {size:,} bytes took {peak:,}"


def test_shares_in_parts_are_the_tensor(save_bert: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = save_bert()
    whole = dict(read_checkpoint(folder).tensors)
    monkeypatch.setattr("secure.models.checkpoint.conversion._PART_ELEMENTS", 50)
    manifest = split_checkpoint(folder, tmp_path / "out")
    first, second = (read_share(tmp_path / "out" / f"{role}.safetensors", manifest, role) for role in ("p0", "p1"))
    for name, tensor in whole.items():
        assert torch.equal((first[name] + second[name]).to(torch.int64), tensor), name
        rows = first[name].reshape(-1)
        assert len(rows) < 10 or len(rows.unique()) > 0.9 * len(rows), "every part has a mask of its own"
    again = read_checkpoint(folder)
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in whole.items())


def test_who_gets_what(save_bert: Save, tmp_path: Path) -> None:
    folder, _ = save_bert()
    for weights in VISIBILITIES:
        checkpoint = read_checkpoint(folder, weights=weights)
        manifest = write_split(checkpoint, tmp_path / weights)
        files = {role: tmp_path / weights / f"{role}.safetensors" for role in ("p0", "p1")}
        names = {role: set(read_share(path, manifest, role)) for role, path in files.items()}
        assert names["p1"] == set(manifest.parameters)
        assert names["p0"] == (set() if weights == "server" else names["p1"])
        for role, path in files.items():
            assert 0 <= path.stat().st_size - share_bytes(manifest, role) < 10_000  # the header
        if weights != "private":
            held = read_share(files["p1"], manifest, "p1")
            assert all(torch.equal(held[name].to(torch.int64), tensor) for name, tensor in checkpoint.tensors.items())
    with safe_open(tmp_path / "server" / "p0.safetensors", "pt") as file:
        assert list(file.keys()) == []


@pytest.mark.parametrize("weights", VISIBILITIES)
def test_nothing_is_left_when_the_last_tensor_is_bad(
    weights: WeightVisibility, save_bert: Save, edit: Callable[..., None], tmp_path: Path
) -> None:
    folder, _ = save_bert()
    (folder / "vocab.txt").write_text("a")
    checkpoint = read_checkpoint(folder, weights=weights)
    last = list(checkpoint.manifest.parameters)[-1]
    assert last == "layer.1.feedforward.norm.offset"

    def poison(tensors: dict[str, Tensor]) -> None:
        tensors["encoder.layer.1.output.LayerNorm.bias"][-1] = float("nan")

    edit(folder, tensors=poison)
    with pytest.raises(CheckpointError, match=rf"'{last}' has NaN"):
        write_split(checkpoint, tmp_path / "out", copied=[folder / "vocab.txt"])
    assert list((tmp_path / "out").iterdir()) == []


def test_nothing_is_left_when_the_disk_fails(save_bert: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = save_bert()
    (folder / "vocab.txt").write_text("a")

    def fail(source: Path, target: Path) -> None:
        target.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises(CheckpointError, match=r"cannot write .*No space left"):
        split_checkpoint(folder, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    with pytest.raises(CheckpointError, match=r"no manifest\.json"):
        read_manifest(tmp_path / "out")


def test_a_disk_without_room_is_refused(save_bert: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = read_checkpoint(save_bert()[0])
    need = sum(share_bytes(checkpoint.manifest, role) for role in ("p0", "p1"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, need))
    check_disk(checkpoint.manifest, tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, need - 1))
    with pytest.raises(CheckpointError, match=r"take \d.* \(p0 \d.*, p1 \d.*\) in .* are free there"):
        write_split(checkpoint, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("weights", ["private", "server"])
def test_large_matrices_are_opened_some_rows_at_a_time(
    weights: WeightVisibility, save_bert: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, reference = save_bert()
    checkpoint = read_checkpoint(folder, weights=weights)
    monkeypatch.setattr("secure.protocols.masked.dealt.preparing.OPENED_ELEMENTS", 100)
    ids = torch.randint(0, 61, (1, 5))
    found = secure_run(checkpoint, tmp_path / "split", "hidden", {"input_ids": ids})
    with torch.no_grad():
        due = reference(input_ids=ids).last_hidden_state
    assert float((found["last_hidden_state"] - due).abs().max()) < 3e-3


def tensors_in(kept: Any) -> Iterator[Tensor]:
    """Every tensor that a role keeps of a parameter, each storage once."""
    if isinstance(kept, Tensor):
        if kept.device.type != "meta" and kept.untyped_storage().nbytes() >= kept.numel():
            yield kept
    elif isinstance(kept, tuple | list):
        for item in kept:
            yield from tensors_in(item)
    elif hasattr(kept, "__dataclass_fields__"):
        for name in kept.__dataclass_fields__:
            yield from tensors_in(getattr(kept, name))


@pytest.mark.parametrize("weights", VISIBILITIES)
def test_memory_that_is_asked_for_is_what_a_model_takes(weights: WeightVisibility, tmp_path: Path) -> None:
    # Weights as large as this need three of the four digits that room is asked for; larger ones leave the range.
    save_large(tmp_path / "model", 64, 1, torch.float32, largest=1.0)
    manifest = split_checkpoint(tmp_path / "model", tmp_path / "out", weights=weights)
    models: dict[str, LoadedModel] = {}

    def program(protocol: Any, _: Any) -> Any:
        role = "dealer" if protocol.at_dealer else f"p{protocol.role.index}"
        shares = None if role == "dealer" else read_share(tmp_path / "out" / f"{role}.safetensors", manifest, role)
        models[role] = load(protocol, manifest, shares)

    run_roles(program, [])
    for role, model in models.items():
        seen = {
            t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
            for t in tensors_in(list(model.weights.values()))
        }
        due = plan_room(manifest, role, 1 << 40, tmp_path, digits=multiplies_bytes(torch.device("cpu"))).memory_bytes
        # Vectors are not among them; digits are padded to multiples of 16.
        assert sum(seen.values()) <= 1.1 * due + 20_000, role
        assert sum(seen.values()) >= 0.6 * due - 20_000, role
