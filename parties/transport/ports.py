"""The port that a server listens on, and that nobody else does."""

from __future__ import annotations

import errno
import socket

import grpc

from secure.parties.process.exit_codes import PortInUse


def bind(server: grpc.Server, who: str, address: str, credentials: grpc.ServerCredentials) -> int:
    """Bind a server to 'host:port'; the port's number. Raises PortInUse. who: the server, in words."""
    check_free(who, address)
    try:
        return server.add_secure_port(address, credentials)
    except RuntimeError:
        raise port_in_use(who, address) from None


def check_free(who: str, address: str) -> None:
    """Raises PortInUse where another program listens on any of the addresses that the host in 'host:port' stands for.

    gRPC is content with one that is free. Whoever dials another one would then talk to that other program.
    """
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError:
        return  # an unknown name, which gRPC refuses
    for family, kind, _, _, where in found:
        with socket.socket(family, kind) as probe:
            # gRPC does the same: connections that ended just now do not keep a port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(where)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise port_in_use(who, address) from None


def port_in_use(who: str, address: str) -> PortInUse:
    """What to raise when a server cannot listen."""
    return PortInUse(
        f"{who} cannot listen on {address}: the port is in use or the address is not one of this machine; "
        "stop the other program or choose another address"
    )
