"""All that roles log while sessions go well and badly, searched for all that they sent to each other."""

from __future__ import annotations

import base64
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from secure.parties.client.client import Client
from secure.parties.transport.link import Link
from secure.protocols.core.channel import Payload
from secure.protocols.core.errors import SecureInferenceError
from tests.parties.fakes import FakeManifest, FakeRequest
from tests.parties.local import LocalParties

_WINDOW = 8
"""Bytes that would be seen if a secret stood in a log, also where it is cut."""


def spellings(secret: bytes) -> Iterator[str]:
    """Each run of eight bytes of it: as it is, in hex, in base64 at each of its three places, as Python shows it."""
    for start in range(len(secret) - _WINDOW + 1):
        window = secret[start : start + _WINDOW]
        yield window.decode("latin-1")
        yield window.hex()
        yield repr(window)[2:-1]
        for padding in range(3):
            # What is around it decides over its first and last letters.
            yield base64.b64encode(bytes(padding) + window).decode().rstrip("=")[padding + 1 : -1]


def test_spellings_find_what_is_there() -> None:
    secret = os.urandom(32)
    found = set(spellings(secret))
    for text in (secret.hex(), repr(secret[3:20]), base64.b64encode(secret[1:]).decode(), secret.decode("latin-1")):
        assert any(spelling in text for spelling in found)
    assert not any(spelling in os.urandom(32).hex() for spelling in found)


def test_no_message_of_any_role_is_in_a_log(
    local_parties: LocalParties,
    shares: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent: list[bytes] = [path.read_bytes() * 4 for path in shares.values()]
    manifest = FakeManifest(share_bytes=len(sent[0]) // 4)
    send = Link.send_message

    def recording(self: Link, payload: Payload) -> None:
        sent.append(bytes(payload))
        send(self, payload)

    monkeypatch.setattr(Link, "send_message", recording)
    inputs = os.urandom(24), os.urandom(24)
    with caplog.at_level(logging.DEBUG), Client(local_parties.settings) as client:
        client.load_model(manifest, shares)
        for request in (
            FakeRequest(),
            FakeRequest(fail_at="p1 1"),
            FakeRequest(crash_at="dealer 1"),
            FakeRequest(memory_bytes=1 << 50),
            FakeRequest(layers=0),
        ):
            try:
                client.predict(manifest.digest, manifest.policy.digest(), request, inputs)
            except SecureInferenceError as error:
                logging.getLogger("parties").info("the client is told: %s", error)
    public = manifest.to_json().encode()
    secrets = {message for message in sent if message != public}
    assert {*inputs} <= secrets and sum(len(message) == 16 for message in secrets) > 4, "inputs and seeds are in it"
    text = caplog.text + "\n".join(caplog.messages)
    assert "the client is told: dealer failed during layer 1 with ValueError" in text
    found = [spelling for message in secrets for spelling in spellings(message) if spelling in text]
    assert not found
