"""A line between two processes that can be made slow, cut, or to deliver something else than what was sent."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from typing import Literal, Self

Fault = Literal["reset", "cut", "twice", "turned", "silent", "slow"]
_CHUNK = 1 << 16
_SLOW_CHUNK, _SLOW_SECONDS = 1024, 0.002


class Line:
    """Forwards connections to an address. A fault strikes what comes next from whoever dialled, on every connection.

    reset: half of it, then a reset. cut: half of it, then the end. twice: it comes twice. turned: one bit is another.
    silent: nothing arrives any more, and nobody is told. slow: a little at a time.
    """

    def __init__(self, target: str, host: str = "127.0.0.1") -> None:
        """target: host:port, where nobody needs to listen yet. host: where it is dialled."""
        target_host, port = target.rsplit(":", 1)
        self._target = (target_host, int(port))
        self._listener = socket.create_server((host, 0))
        self.address = f"{host}:{self._listener.getsockname()[1]}"
        self.fault: Fault | None = None
        self.struck = threading.Event()
        self._ends = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for end in self._ends:
            # `close` alone would leave a thread in `accept` or `recv`.
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                dialler, _ = self._listener.accept()
            except OSError:
                return
            try:
                target = socket.create_connection(self._target)
            except OSError:
                dialler.close()
                continue
            self._ends += [dialler, target]
            for source, sink, faulty in ((dialler, target, True), (target, dialler, False)):
                threading.Thread(target=self._forward, args=(source, sink, faulty), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, faulty: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                fault = self.fault if faulty else None
                if fault is not None:
                    self.struck.set()
                if fault in ("reset", "cut"):
                    self._end(data, source, sink, reset=fault == "reset")
                    return
                if fault == "silent":
                    continue
                if fault == "turned":
                    data = data[:-1] + bytes([data[-1] ^ 1])
                if fault == "slow":
                    for start in range(0, len(data), _SLOW_CHUNK):
                        sink.sendall(data[start : start + _SLOW_CHUNK])
                        time.sleep(_SLOW_SECONDS)
                    continue
                sink.sendall(data * 2 if fault == "twice" else data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _end(self, data: bytes, source: socket.socket, sink: socket.socket, *, reset: bool) -> None:
        sink.sendall(data[: len(data) // 2])
        for end in (source, sink):
            if reset:  # what is not delivered yet is thrown away, and the other side is told so
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.close()
            else:
                end.shutdown(socket.SHUT_RDWR)
