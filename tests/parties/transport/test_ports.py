"""Why a server cannot listen: each cause with the remedy for it."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from secure.parties.transport import ports
from secure.protocols.core.errors import ConfigurationError, PortInUse


def resolves_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 7101)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        address = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(PortInUse, match="the port is in use; stop the other program or choose another port"):
            ports.check_free("p0", address)


def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(
        ConfigurationError, match=r"the name 'no-such-host\.invalid' does not resolve .*correct it"
    ) as e:
        ports.check_free("p0", "no-such-host.invalid:7101")
    assert not isinstance(e.value, PortInUse)


@pytest.mark.parametrize("address", ["192.0.2.7:7101", "[2001:db8::7]:7101"])  # set aside for documentation
def test_an_address_of_another_machine(address: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no address of this machine; .* set listen to 0\.0\.0\.0:7101") as e:
        ports.check_free("p0", address)
    assert not isinstance(e.value, PortInUse)


def test_one_address_of_this_machine_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a name that stands for an IPv6 address, too, on a machine without IPv6."""
    resolves_to(monkeypatch, "192.0.2.7", "127.0.0.1")
    ports.check_free("p0", "name:7101")


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EACCES, "may not listen on port 80; choose one from 1024 on"), (errno.EPERM, "the system refuses it")],
)
def test_other_causes(number: int, words: str) -> None:
    error = ports.cannot_listen("p0", "127.0.0.1:80", OSError(number, os.strerror(number)))
    assert words in str(error)
