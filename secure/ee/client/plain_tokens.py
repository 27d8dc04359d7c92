"""Plain ids in and out, over whatever generates encrypted ones."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

from secure.ee.client.cipher import Cipher
from secure.parties.encrypted.tokens import (
    ContextRoom,
    GeneratedPieces,
    SamplingParameters,
    TokenGenerator,
    TokenPiece,
    TokenPieces,
)
from secure.protocols.core.errors import InputError, SessionError


class PlainTokens(TokenGenerator):
    """What a client generates with: stop ids are plain, too."""

    def __init__(self, cipher: Cipher, encrypted: TokenGenerator) -> None:
        self._cipher = cipher
        self._encrypted = encrypted

    def room(self) -> ContextRoom:
        return self._encrypted.room()

    def generate(self, ids: Sequence[int], sampling: SamplingParameters, *, at_once: bool = False) -> TokenPieces:
        """Plain ids that follow plain ones. Raises InputError at once for an id that the model does not know."""
        row, stop_ids = self._cipher.encrypted([ids, sampling.stop_ids])
        pieces = self._encrypted.generate(row, replace(sampling, stop_ids=tuple(stop_ids)), at_once=at_once)
        return GeneratedPieces(self._decrypted(pieces), pieces.close)

    def close(self) -> None:
        self._encrypted.close()

    def _decrypted(self, pieces: TokenPieces) -> Generator[TokenPiece, None, None]:
        for piece in pieces:
            try:
                plain = piece.translated(self._cipher.plain)
            except InputError:
                # It is the other side that is wrong here, not the caller.
                raise SessionError("the backend sent an id that the model does not have") from None
            yield plain
