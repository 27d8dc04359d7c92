"""When a call of a generation party ends early: its client went away, or sends nothing any more."""

from __future__ import annotations

import threading

import grpc


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


def cancelled_with(context: grpc.ServicerContext) -> threading.Event:
    """An event that is set when the call ends, for whatever reason."""
    cancelled = threading.Event()
    if not context.add_callback(cancelled.set):
        cancelled.set()
    return cancelled
