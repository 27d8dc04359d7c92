"""Systems that lack something. Only simulated, on Linux: what macOS and Windows do not have is taken away here."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from secure.models.storage import system
from secure.models.storage.block_file import BlockFile, new_buffer
from secure.protocols.core.errors import CheckpointError
from tests.checkout import ROOT

WINDOWS = """
import builtins, mmap, os, signal, sys
import grpc, torch  # which know Windows themselves; other packages, too, may import what ours may not
found = builtins.__import__
def without(name, globals=None, *rest, **others):
    ours = str((globals or {}).get("__name__")).startswith("secure")
    if ours and name in ("fcntl", "resource", "termios", "pwd", "grp"):
        raise ImportError(name)
    return found(name, globals, *rest, **others)
builtins.__import__ = without
for module, names in (
    (os, ("posix_fallocate", "O_DIRECT", "memfd_create", "preadv", "pwrite")),
    (mmap, ("MAP_PRIVATE", "MAP_ANONYMOUS", "MADV_HUGEPAGE")),
    (signal, ("SIGHUP",)),
):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
import secure
from secure.cli import main
from secure.parties.client.client import Client
from secure.models.storage import system
for name in secure.__all__:
    getattr(secure, name)
system.dump_no_core()
assert "fcntl" not in vars(system)
"""


@pytest.fixture
def macos(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((os, "posix_fallocate"), (os, "O_DIRECT"), (os, "memfd_create"), (mmap, "MADV_HUGEPAGE")):
        monkeypatch.delattr(module, name, raising=False)


def test_a_party_on_macos_keeps_weights_on_its_disk(macos: None, tmp_path: Path) -> None:
    file, tensor = BlockFile(tmp_path, 1 << 16), torch.arange(2000)
    buffer = new_buffer(file.largest_bytes * 4)
    assert file.write([tensor]) == 0
    file.read(0, buffer)
    assert torch.equal(file.tensors(0, buffer)[0], tensor)


def test_a_party_on_macos_refuses_uploads_and_says_what_to_do(macos: None) -> None:
    with pytest.raises(CheckpointError, match=r"takes no uploads; split the model, and copy .* \[models\] dir"):
        system.file_in_memory()


@pytest.mark.slow  # a process of its own that imports everything: ten seconds
def test_the_client_imports_without_what_windows_lacks() -> None:
    done = subprocess.run([sys.executable, "-c", WINDOWS], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
