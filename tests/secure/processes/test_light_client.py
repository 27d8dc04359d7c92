"""What a client's process loads to predict against parties that run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import secure
from secure.models.checkpoint.conversion import read_checkpoint, write_split
from tests.secure.running import Running

pytestmark = [
    pytest.mark.processes,
    pytest.mark.slow,
    pytest.mark.xdist_group("parties"),
    pytest.mark.timeout(900),
]

CLIENT = """
import json, sys
if sys.argv[3] == "missing":
    sys.modules.update(dict.fromkeys(("numba", "llvmlite")))
import secure
with secure.connect(sys.argv[1]) as parties:
    with secure.PrivateModel.from_pretrained(sys.argv[2], parties=parties, progress=False) as model:
        vector = model.encode(["the cat sat"], progress=False)[0].tolist()
loaded = sorted(name for name in ("numba", "llvmlite") if sys.modules.get(name) is not None)
print(json.dumps({"vector": vector, "compilers": loaded}))
"""


@pytest.mark.parametrize(("weights", "compilers"), [("private", "installed"), ("public", "missing")])
def test_a_client_loads_no_compiler_and_needs_none(
    checkpoint: Path, beaver: Running, tmp_path: Path, weights: str, compilers: str
) -> None:
    """Its model was split before; what it computes is small, and nothing is compiled for it."""
    write_split(read_checkpoint(checkpoint, weights=weights, head=False), tmp_path)  # type: ignore[arg-type]
    for file in checkpoint.iterdir():
        if file.suffix in (".txt", ".json") and not (tmp_path / file.name).exists():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    config = beaver.settings.tls_dir.parent / "parties.toml"
    command = [sys.executable, "-c", CLIENT, str(config), str(tmp_path), compilers]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["compilers"] == []
    with secure.PrivateModel.from_pretrained(tmp_path, parties=beaver.parties) as model:
        torch.testing.assert_close(torch.tensor(found["vector"]), model.encode(["the cat sat"])[0], atol=2e-3, rtol=0)
