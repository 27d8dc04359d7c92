"""Where an encrypted checkpoint runs, by one interface: in this process here, at a gRPC party in `client`.

All ids, hidden states and pixels are encrypted ones.
"""

from __future__ import annotations

import queue
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple, Self

from torch import Tensor

from secure.parties.encrypted.engine import EncoderInputs, GenerationEngine, HiddenSequence, Pooling
from secure.parties.encrypted.limits import Admission
from secure.parties.encrypted.tokens import (
    ContextRoom,
    Pieces,
    SamplingParameters,
    TokenGenerator,
    TokenPiece,
    TokenPieces,
)


class Runner(TokenGenerator):
    """Runs one checkpoint. A context manager whose end is `close`.

    Every method raises InputError for a request that is wrong or more than the checkpoint does, and SessionError and
    its kinds. Key and checkpoint are compared before the first id leaves.
    """

    @abstractmethod
    def embed(self, inputs: EncoderInputs, pooling: Pooling = "mean") -> Tensor:
        """Last hidden states in the encrypted basis. Shapes: [rows, D]; with pooling "none" [rows, T, D]."""

    @abstractmethod
    def classify(self, inputs: EncoderInputs) -> Tensor:
        """A classifier's logits. Shapes: [rows, classes], or [rows, T, classes] where every token has its own."""

    @abstractmethod
    def sequence(self) -> AbstractContextManager[HiddenSequence]:
        """A sequence of split mode, whose embeddings the client computes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class EngineRunner(Runner):
    """The engine of this process, which that protects nothing from."""

    def __init__(self, engine: GenerationEngine, admission: Admission | None = None) -> None:
        """admission: the limits that a server keeps; None keeps none."""
        self._engine = engine
        self._admission = admission

    def room(self) -> ContextRoom:
        most = None if self._admission is None else self._admission.limits.new_tokens
        return ContextRoom(self._engine.served.context_tokens, most)

    def generate(self, ids: Sequence[int], sampling: SamplingParameters, *, at_once: bool = False) -> TokenPieces:
        if self._admission is not None:
            self._admission.check_prompt(ids, sampling)
        pieces = _EnginePieces()

        def work() -> None:
            drawn: list[TokenPiece] = []
            emit = drawn.append if at_once else pieces.put
            with self._admitted():
                finish = self._engine.generate(ids, sampling, emit, pieces.cancelled)
            told = [each for piece in drawn for each in piece.logprobs]
            pieces.put(TokenPiece([token for piece in drawn for token in piece.ids], finish, told))

        pieces.start(work)
        return pieces

    def embed(self, inputs: EncoderInputs, pooling: Pooling = "mean") -> Tensor:
        with self._admitted(inputs):
            return self._engine.embed(inputs, pooling)

    def classify(self, inputs: EncoderInputs) -> Tensor:
        with self._admitted(inputs):
            return self._engine.classify(inputs)

    @contextmanager
    def sequence(self) -> Iterator[HiddenSequence]:
        with self._admitted():
            yield self._engine.begin()

    def close(self) -> None:
        """The engine ends with its last user."""

    def _admitted(self, inputs: EncoderInputs | None = None) -> AbstractContextManager[None]:
        if self._admission is None:
            return nullcontext()
        if inputs is not None:
            self._admission.check_inputs(inputs)
        return self._admission.slot()


class _WorkEnded(NamedTuple):
    """The last thing that the engine's thread delivers: what ended it, None when it was done."""

    error: Exception | None


class _EnginePieces(Pieces[TokenPiece]):
    """Pieces from a thread in which the engine works."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self._arrived: queue.SimpleQueue[TokenPiece | _WorkEnded] = queue.SimpleQueue()
        self._ended = False

    def start(self, work: Callable[[], None]) -> None:
        """Call `work` in a new thread; the pieces end when it does, with the error that it raises."""

        def run() -> None:
            error: Exception | None = None
            try:
                work()
            except Exception as caught:
                error = caught
            self._arrived.put(_WorkEnded(error))

        threading.Thread(target=run, name="generation", daemon=True).start()

    def put(self, piece: TokenPiece) -> None:
        """Called by the work."""
        self._arrived.put(piece)

    def __next__(self) -> TokenPiece:
        if self._ended:
            raise StopIteration
        piece = self._arrived.get()
        if not isinstance(piece, _WorkEnded):
            return piece
        self._ended = True
        if piece.error is not None:
            raise piece.error
        raise StopIteration

    def close(self) -> None:
        self.cancelled.set()
