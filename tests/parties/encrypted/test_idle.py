"""Split mode's idle time is the client's: while the server computes it does not run."""

from __future__ import annotations

import threading
from pathlib import Path

import torch
from torch import Tensor

from secure.parties.encrypted.client import GenerationClient
from secure.parties.encrypted.engine import HiddenSequence
from secure.parties.encrypted.limits import GenerationLimits
from secure.parties.encrypted.server import GenerationServer
from secure.parties.encrypted.service import make_generation_certificates
from tests.secure.ee.serving.fakes import KEY_CHECK, FakeEngine

IDLE_SECONDS = 0.2


class Slow(HiddenSequence):
    """Longer at each answer than a client may be idle."""

    def extend(self, embeddings: Tensor) -> Tensor:
        threading.Event().wait(3 * IDLE_SECONDS)
        return embeddings


class SlowEngine(FakeEngine):
    def begin(self) -> HiddenSequence:
        return Slow()


def test_a_client_that_waits_for_an_answer_is_not_idle(tmp_path: Path) -> None:
    make_generation_certificates(tmp_path / "tls", {"server": ["127.0.0.1"]})
    limits = GenerationLimits(requests=1, idle_seconds=IDLE_SECONDS)
    server = GenerationServer("127.0.0.1:0", tmp_path / "tls", SlowEngine(), limits)
    port = server.start()
    with GenerationClient(f"127.0.0.1:{port}", tmp_path / "tls", KEY_CHECK) as client, client.sequence() as sequence:
        for _ in range(2):
            assert sequence.extend(torch.ones(2, 4)).shape == (2, 4)
        # Now it is.
        assert server.admission.wait_until_idle(10.0)
    server.stop(0)
