"""A minute of guided fuzzing for each reader, from inputs that it takes and from one that is nested too deep."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.shapes import small_bert
from secure.models.checkpoint.conversion import read_checkpoint, write_split
from secure.models.contract.manifest import Manifest
from secure.models.contract.request import Request
from secure.parties.transport.failures import failure_frame
from secure.parties.transport.frames import DataFrame, encode
from secure.parties.transport.wire_pb2 import Frame, Hello
from secure.protocols.core.errors import CheckpointError, InputError
from tests.checkout import ROOT

SECONDS = 60
DEEP = "[" * 60_000
CHAT = {"model": "private", "messages": [{"role": "user", "content": "a"}], "max_tokens": 3, "stream": True}
EMBEDDING = {"model": "private", "input": ["a", "b"], "encoding_format": "base64"}
COMPLETION = {"model": "private", "prompt": ["a"], "logprobs": 2, "stop": ["."], "temperature": 0.5, "n": 2}
KNOWN: dict[str, list[bytes]] = {
    "frames": [
        encode(DataFrame(1, 2, b"xyz")),
        encode(Frame(sequence=3, hello=Hello(role="p0", session="ab"))),
        encode(failure_frame(InputError("no"), "p0", "step")),
    ],
    "requests": [Request("embedding", 1, 4, True).to_json().encode(), DEEP.encode()],
    "bodies": [
        b"c" + json.dumps(CHAT).encode(),
        b"e" + json.dumps(EMBEDDING).encode(),
        json.dumps(COMPLETION).encode(),
    ],
    "manifests": [DEEP.encode()],
}


def test_what_is_nested_too_deep_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="malformed"):
        Request.from_json(DEEP)
    with pytest.raises(CheckpointError):
        Manifest.from_json(DEEP)


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("target", KNOWN)
def test_a_reader_raises_nothing_but_its_refusal(target: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="the extra fuzz is not installed")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    known = list(KNOWN[target])
    if target == "manifests":
        small_bert(tmp_path / "checkpoint")
        known.append(write_split(read_checkpoint(tmp_path / "checkpoint"), tmp_path / "split").to_json().encode())
    for number, content in enumerate(known):
        (corpus / str(number)).write_bytes(content)
    command = [sys.executable, "-m", "tests.guided_fuzz", target, str(corpus), f"-max_total_time={SECONDS}"]
    ran = subprocess.run(
        [*command, f"-artifact_prefix={tmp_path}/"], cwd=ROOT, capture_output=True, text=True, timeout=5 * SECONDS
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
