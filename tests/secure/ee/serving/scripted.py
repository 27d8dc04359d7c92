"""What the proxy gets encrypted tokens from, answering what a test wants."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from typing import Any

from secure.parties.encrypted.tokens import (
    ContextRoom,
    GeneratedPieces,
    SamplingParameters,
    TokenGenerator,
    TokenPiece,
    TokenPieces,
)
from tests.secure.ee.serving.tiny import Tiny

MODEL = "tiny"


class Scripted(TokenGenerator):
    """Answers with given plain ids, encrypted, one by one; keeps what it is asked."""

    def __init__(self, tiny: Tiny, ids: Sequence[int], finish: str = "length") -> None:
        self._tiny = tiny
        self.ids = list(ids)
        self.finish: Any = finish
        self.asked: list[tuple[list[int], SamplingParameters, bool]] = []
        self.given = 0
        self.closed = threading.Event()

    def room(self) -> ContextRoom:
        return ContextRoom(256, 100)

    def generate(self, ids: Sequence[int], sampling: SamplingParameters, *, at_once: bool = False) -> TokenPieces:
        self.asked.append((self._tiny.vocabulary.decrypt_ids(list(ids)), sampling, at_once))
        return GeneratedPieces(self.pieces(), self.closed.set)

    def pieces(self) -> Generator[TokenPiece, None, None]:
        for token in self.ids:
            self.given += 1
            yield TokenPiece(self._tiny.vocabulary.encrypt_ids([token]))
        yield TokenPiece([], self.finish)

    def close(self) -> None:
        """There is nothing to close."""
