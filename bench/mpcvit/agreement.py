"""Whether a student says on shares what it says in the clear.

The parties are threads of this process, which send what processes send, as in the tests: three processes would take
hours for as many images. A loaded model serves few sessions: until its run ends, a copy of every message is kept, and a
dealer that is a thread runs as far ahead as it can.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from secure.clear_model import reference
from secure.models.checkpoint.conversion import read_checkpoint, read_share, write_split
from secure.models.contract.exchange import input_payloads, step_outputs
from secure.models.program import load, network, serve
from secure.protocols.core.secret import Protocol
from secure.search.training import answers
from tests.families import FAMILIES
from tests.in_process import GivenSteps
from tests.models.runs import party_index

BATCH = 50
_TOGETHER = 2
"""Sessions of one loaded model. Those of 50 images, of 17 tokens, leave messages of 180 to 370 MB each."""
HOW = "parties are threads of one process; the same programs, gates and messages as by processes"


def agreement(folder: Path, images: Tensor, protocol: str, batch: int = BATCH) -> dict[str, Any]:
    """How many of the images have one label on shares and in the clear, and how far logits differ at most.

    Shapes: images [N, C, H, W].
    """
    (family,) = (each for each in FAMILIES if each.name == protocol)
    began = time.process_time()
    due = answers(reference(folder), images)
    with tempfile.TemporaryDirectory() as scratch:
        split = Path(scratch)
        checkpoint = read_checkpoint(folder)
        manifest = write_split(checkpoint, split, protocol=protocol)
        net, parts = network(manifest), images.split(batch)
        requests = [net.request("logits", {"pixel_values": part}) for part in parts]
        payloads = [
            input_payloads(net, request, {"pixel_values": part}, checkpoint.embeddings)
            for request, part in zip(requests, parts, strict=True)
        ]

        def program(some: slice, role: Protocol, _: Sequence[Tensor | None]) -> Any:
            index = party_index(role)
            shares = None if index is None else read_share(split / f"p{index}.safetensors", manifest, f"p{index}")
            model, found = load(role, manifest, shares), []
            for request, pair in zip(requests[some], payloads[some], strict=True):
                client = GivenSteps(b"" if index is None else pair[index])
                serve(role, model, request, client, index)
                found += client.outputs
            return found

        answered: list[Tensor] = []
        for start in range(0, len(requests), _TOGETHER):
            some = slice(start, start + _TOGETHER)
            outputs, _, _ = family.run(partial(program, some), [], policy=manifest.policy, timeout_seconds=600.0)
            sent = zip(requests[some], zip(*outputs, strict=True), strict=True)
            answered += [step_outputs(net, request, given)["logits"] for request, given in sent]
    found = torch.cat(answered)
    return {
        "images": len(images),
        "agree": int((found.argmax(-1) == due.argmax(-1)).sum()),
        "largest_difference": float((found - due).abs().max()),
        "processor_seconds": time.process_time() - began,
        "how": HOW,
    }
