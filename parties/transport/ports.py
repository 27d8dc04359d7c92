"""The port that a server listens on, and that nobody else does, until it is given up."""

from __future__ import annotations

import errno
import socket

import grpc

from secure.parties.transport.dialer import COMMON_OPTIONS
from secure.protocols.core.errors import ConfigurationError, PortInUse

STOP_SECONDS = 5.0
"""How long a server that stops waits for what it cannot interrupt."""
_NOT_OURS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""What the system says of an address that no interface of this machine has."""


SERVER_OPTIONS: list[tuple[str, int]] = [
    *COMMON_OPTIONS,
    # Two processes must not share a port: the second one has to hear that it is taken.
    ("grpc.so_reuseport", 0),
    # Peers ping every two seconds; by default that would count as abuse.
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 500),
    ("grpc.http2.max_ping_strikes", 0),
    # A process can have so many connections and no more: whoever shows no certificate is not to keep one, by default
    # for two minutes.
    ("grpc.server_handshake_timeout_ms", 5000),
]


def bind(server: grpc.Server, who: str, address: str, credentials: grpc.ServerCredentials) -> int:
    """Bind a server to 'host:port'; the port's number. who: the server, in words.

    Raises PortInUse, and ConfigurationError where the address is not one to listen on.
    """
    check_free(who, address)
    try:
        return server.add_secure_port(address, credentials)
    except RuntimeError:
        # The port was free just now.
        raise port_in_use(who, address) from None


def stop_server(server: grpc.Server, grace_seconds: float) -> None:
    """Accept no more, let calls that run end for so long, then cancel them, and give up the port.

    Bounded: a process that is to stop does not depend on how every stream of its callers ends. Without a grace gRPC
    waits within `stop` itself, and was seen to wait for ever though every stream had ended.
    """
    server.stop(grace_seconds).wait(grace_seconds + STOP_SECONDS)


def check_free(who: str, address: str) -> None:
    """Raises PortInUse where another program listens on any of the addresses that the host in 'host:port' stands for,
    and ConfigurationError where none of them is one that this machine can listen on.

    gRPC is content with one that is free. Whoever dials another one would then talk to that other program.
    """
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise cannot_listen(who, address, error) from None
    refused: list[OSError] = []
    for family, kind, _, _, where in found:
        try:
            with socket.socket(family, kind) as probe:
                # gRPC asks for the same: connections that ended just now do not keep a port.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(where)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise port_in_use(who, address) from None
            refused.append(error)
    if len(refused) == len(found):
        raise cannot_listen(who, address, refused[0])


def port_in_use(who: str, address: str) -> PortInUse:
    """What to raise when another program has the port."""
    return PortInUse(
        f"{who} cannot listen on {address}: the port is in use; stop the other program or choose another port"
    )


def cannot_listen(who: str, address: str, error: OSError) -> ConfigurationError:
    """What to raise when the system refuses an address to a server: the cause, and the remedy for that cause."""
    host, _, port = address.rpartition(":")
    if isinstance(error, socket.gaierror):
        why = f"the name {host!r} does not resolve ({error.strerror}); correct it, or write the address in numbers"
    elif error.errno == errno.EADDRINUSE:
        return port_in_use(who, address)
    elif error.errno in _NOT_OURS:
        why = (
            f"{host} is no address of this machine; run it on the machine that has this address, or, where others "
            f"reach this machine by it through a router or into a container, set listen to 0.0.0.0:{port}"
        )
    elif error.errno == errno.EACCES:
        why = f"this user may not listen on port {port}; choose one from 1024 on"
    else:
        why = f"the system refuses it ({error.strerror}); choose another address"
    return ConfigurationError(f"{who} cannot listen on {address}: {why}")
