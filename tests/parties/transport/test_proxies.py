"""No proxy of the environment comes between two roles."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from secure.parties.client.client import Client
from secure.parties.config import PartiesSettings
from tests.parties.fakes import FakeManifest
from tests.parties.local import LocalParties


def test_no_link_between_roles_goes_to_a_proxy(
    proxy: socket.socket, settings: PartiesSettings, shares: dict[str, Path]
) -> None:
    parties = LocalParties(settings)
    try:
        with Client(settings) as client:
            assert set(client.health(60).values()) == {"serving"}
            # The dealer dials p0 and p1, and p0 dials p1.
            client.load_model(FakeManifest(), shares)
    finally:
        parties.stop_all()
    with pytest.raises(BlockingIOError):
        proxy.accept()
