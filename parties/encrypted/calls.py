"""When a call of a generation party ends early: its client went away, or sends nothing any more."""

from __future__ import annotations

import threading

import grpc

from secure.parties.encrypted.tokens import TokenPieces


class Idle:
    """Ends a call whose client has sent nothing for some time."""

    def __init__(self, context: grpc.ServicerContext, seconds: float) -> None:
        self._context = context
        self._seconds = seconds
        self._timer: threading.Timer | None = None
        self.again()

    def again(self) -> None:
        self.stop()
        self._timer = threading.Timer(self._seconds, self._context.cancel)
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def close_with(context: grpc.ServicerContext, pieces: TokenPieces) -> None:
    """Close the pieces when the call ends, for whatever reason."""
    if not context.add_callback(pieces.close):
        pieces.close()
