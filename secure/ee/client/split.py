"""Split mode at the client: it keeps embedding and head, the server has the layers between them.

    x = E'[τ(id)]            here         E' the encrypted embedding, in the server's basis
    h = layers(x)            the server   one vector for each position goes out, one comes back
    logits = h · head'ᵀ      here         then drawn here, and permuted back

Ids never leave, nor does the text's length in tokens stay hidden: there is one vector for each. Vectors that the server
sees many of can be matched (SECURITY.md).
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from secure.ee.files.checkpoint import OpenedCheckpoint
from secure.ee.files.folder import TensorFolder
from secure.ee.files.transforms import vocabulary_tables
from secure.ee.files.writer import CLIENT_TENSORS
from secure.generation.token_draw import TokenDraw, logprobs_of
from secure.parties.encrypted.runner import Runner
from secure.parties.encrypted.tokens import (
    ContextRoom,
    Finish,
    GeneratedPieces,
    SamplingParameters,
    TokenGenerator,
    TokenPiece,
    TokenPieces,
)
from secure.protocols.core.errors import CheckpointError


class SplitTokens(TokenGenerator):
    """Encrypted tokens from the client's embedding and head, and the server's layers."""

    def __init__(self, checkpoint: OpenedCheckpoint, layers: Runner) -> None:
        """Raises CheckpointError when the client's tensors are missing or changed."""
        checkpoint.manifest.check_file(checkpoint.folder, CLIENT_TENSORS)
        tensors = TensorFolder(checkpoint.folder, CLIENT_TENSORS)
        self._tables = {name: tensors(name) for name in vocabulary_tables(checkpoint.transform)}
        embedding = next((table for name, table in self._tables.items() if _is_embedding(name)), None)
        if embedding is None:
            raise CheckpointError(f"{checkpoint.folder / CLIENT_TENSORS} has no embedding")
        self.embedding = embedding
        head = self._tables.get("lm_head.weight", embedding)
        self._head = head.float()
        bias = self._tables.get("lm_head.bias")
        self._bias = None if bias is None else bias.float()
        self._layers = layers

    def logits(self, hidden: Tensor) -> Tensor:
        """Shapes: [D] -> float32 [V], in the encrypted order."""
        return torch.nn.functional.linear(hidden.float(), self._head, self._bias)

    def room(self) -> ContextRoom:
        return self._layers.room()

    def generate(self, ids: Sequence[int], sampling: SamplingParameters, *, at_once: bool = False) -> TokenPieces:
        """Tokens one by one, as they are drawn here; the stop ids alone end them early."""
        closed = threading.Event()
        return GeneratedPieces(self._drawn(ids, sampling, closed), closed.set)

    def close(self) -> None:
        self._layers.close()

    def _drawn(
        self, ids: Sequence[int], sampling: SamplingParameters, closed: threading.Event
    ) -> Generator[TokenPiece, None, None]:
        draw = TokenDraw(sampling)
        with self._layers.sequence() as sequence:
            known = torch.tensor(list(ids))
            for number in range(sampling.max_new_tokens):
                with torch.inference_mode():
                    hidden = sequence.extend(self.embedding[known])
                    logits = self.logits(hidden[-1])
                    token = int(draw(logits[None]))
                told = [] if sampling.logprobs is None else [logprobs_of(logits, token, sampling.logprobs)]
                last = number + 1 == sampling.max_new_tokens
                finish: Finish | None = "stop" if token in sampling.stop_ids else "length" if last else None
                piece = TokenPiece([token], finish, told)
                if finish is not None:
                    break
                yield piece
                if closed.is_set():
                    return
                known = torch.tensor([token])
        # A server signs at the end of the sequence: the last piece comes after that was checked.
        yield piece


def is_split_client(folder: Path) -> bool:
    """Whether a folder is the client's of a split checkpoint."""
    return (folder / CLIENT_TENSORS).is_file()


def _is_embedding(name: str) -> bool:
    return not name.startswith("lm_head")
