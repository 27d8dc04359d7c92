"""An engine without a model, which a test can hold and watch, and a relay that records what passes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence

import torch
from torch import Tensor

from secure.parties.encrypted.engine import EncoderInputs, GenerationEngine, HiddenSequence, Pooling, Served
from secure.parties.encrypted.tokens import Emit, Finish, SamplingParameters, TokenLogprobs, TokenPiece

KEY_CHECK = "00ff" * 8


class FakeEngine(GenerationEngine):
    """Counts up from the prompt's last id. While `hold` is set to an Event, waits before each token for that event."""

    def __init__(self, key_check: str = KEY_CHECK) -> None:
        self.served = Served("fake", "{}", key_check, vocabulary=1 << 20, context_tokens=1 << 16, width=4)
        self.hold: threading.Event | None = None
        self.first_token = threading.Event()
        self.ended = threading.Event()
        self.prompts: list[list[int]] = []
        self.error: Exception | None = None

    def generate(
        self, ids: Sequence[int], sampling: SamplingParameters, emit: Emit, cancelled: threading.Event
    ) -> Finish:
        self.prompts.append(list(ids))
        try:
            for i in range(sampling.max_new_tokens):
                if self.error is not None:
                    raise self.error
                token = (ids[-1] + 1 + i) % self.served.vocabulary
                told = [] if sampling.logprobs is None else [TokenLogprobs(-0.5, [(token, -0.5)] * sampling.logprobs)]
                emit(TokenPiece([token], logprobs=told))
                self.first_token.set()
                if token in sampling.stop_ids:
                    return "stop"
                while self.hold is not None and not self.hold.wait(0.005) and not cancelled.is_set():
                    pass
                if cancelled.is_set():
                    break
            return "length"
        finally:
            self.ended.set()

    def embed(self, inputs: EncoderInputs, pooling: Pooling) -> Tensor:
        return torch.tensor([[float(sum(row))] for row in inputs.rows])

    def classify(self, inputs: EncoderInputs) -> Tensor:
        return self.embed(inputs, "mean")

    def begin(self) -> HiddenSequence:
        return _Sum()


class _Sum(HiddenSequence):
    """The running sum of all positions."""

    def __init__(self) -> None:
        self._total = torch.zeros(4)

    def extend(self, embeddings: Tensor) -> Tensor:
        sums = self._total + embeddings.cumsum(0)
        self._total = sums[-1]
        return sums


class Relay:
    """A TCP relay on loopback to `port` that keeps every byte of both directions."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.sent, self.received = bytearray(), bytearray()
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, server]
            for source, target, record in ((client, server, self.sent), (server, client, self.received)):
                threading.Thread(target=_copy, args=(source, target, record), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket, record: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            record += data
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
