"""Share files of somebody who wrote the manifest, too: whatever they hold, they are refused by name, or are shares."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secure.models.checkpoint.conversion import file_digest, read_checkpoint, read_share, write_split
from secure.models.contract.manifest import Manifest
from secure.protocols.core.errors import CheckpointError

Save = Callable[..., tuple[Path, Any]]
ONE_FILE = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, derandomize=True
)


@pytest.fixture
def split(save_bert: Save, tmp_path: Path) -> tuple[Manifest, Path]:
    folder, _ = save_bert(num_hidden_layers=1)
    manifest = write_split(read_checkpoint(folder), tmp_path / "split")
    return manifest, tmp_path / "split" / "p1.safetensors"


def read_all(manifest: Manifest, path: Path, content: bytes) -> None:
    """As a party reads an uploaded share whose digest is the manifest's. Raises CheckpointError alone."""
    path.write_bytes(content)
    share = read_share(path, replace(manifest, share_digests={"p1": file_digest(path)}), "p1")
    for name, spec in manifest.held_by("p1").items():
        assert tuple(share[name].shape) == (*manifest.parts, *spec.shape)


@ONE_FILE
@given(data=st.data())
def test_changed_bytes_are_refused_or_are_a_share(split: tuple[Manifest, Path], data: st.DataObject) -> None:
    """Bytes of the header are changed, mostly, as those say what is read from where; or the file is cut, or longer."""
    manifest, path = split
    whole = path.read_bytes()
    header_bytes = 8 + int.from_bytes(whole[:8], "little")
    content = bytearray(whole)
    for place in data.draw(st.lists(st.integers(0, header_bytes - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))]
    content += data.draw(st.binary(max_size=9))
    try:
        read_all(manifest, path, bytes(content))
    except CheckpointError:
        pass
    finally:
        path.write_bytes(whole)


@ONE_FILE
@given(data=st.data())
def test_headers_that_lie_are_refused(split: tuple[Manifest, Path], data: st.DataObject) -> None:
    """A header that is JSON as it should be, in which a type, a shape or a place is another."""
    manifest, path = split
    whole = path.read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:end])
    name = data.draw(st.sampled_from(sorted(header.keys() - {"__metadata__"})))
    before = dict(header[name])
    changed = data.draw(st.sampled_from(("dtype", "shape", "data_offsets")))
    header[name][changed] = data.draw(
        {
            "dtype": st.sampled_from(["I8", "F64", "BOOL", "none", ""]),
            "shape": st.lists(st.integers(0, 1 << 62), max_size=4),
            "data_offsets": st.lists(st.integers(0, 1 << 62), min_size=2, max_size=2),
        }[changed]
    )
    text = json.dumps(header).encode()
    try:
        if header[name] == before:
            return
        with pytest.raises(CheckpointError):
            read_all(manifest, path, len(text).to_bytes(8, "little") + text + whole[end:])
    finally:
        path.write_bytes(whole)
