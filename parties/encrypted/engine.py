"""What runs an encrypted checkpoint: one interface for whatever computes it. It knows of no key."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from secure.parties.encrypted.tokens import Emit, Finish, SamplingParameters

if TYPE_CHECKING:
    from torch import Tensor  # The command line reads the limits, which stand on this file, and does without torch.

Pooling = Literal["mean", "first", "last", "none"]
POOLINGS: tuple[Pooling, ...] = ("mean", "first", "last", "none")


@dataclass(frozen=True)
class Served:
    """What an engine serves."""

    name: str
    manifest: str
    """encryption.json."""
    key_check: str
    vocabulary: int
    """Ids are below it; 0 where the model takes no ids."""
    context_tokens: int
    """Most positions of prompt and new tokens together."""
    width: int
    """Numbers in one hidden state."""


@dataclass(frozen=True)
class EncoderInputs:
    """What embeddings and classes are made of: rows of ids, or images."""

    rows: Sequence[Sequence[int]] = ()
    token_types: Sequence[Sequence[int]] | None = None
    """One for each row, of its length."""
    pixels: Tensor | None = None
    """Shapes: [B, C, H, W]."""


class HiddenSequence(ABC):
    """Split mode: one sequence whose embeddings arrive in pieces, with its key-value cache."""

    @abstractmethod
    def extend(self, embeddings: Tensor) -> Tensor:
        """The last hidden states of further positions. Shapes: [T, D] -> [T, D], on the CPU."""


class GenerationEngine(ABC):
    """Runs one encrypted checkpoint. Its methods are called from several threads at a time."""

    served: Served

    @abstractmethod
    def generate(
        self, ids: Sequence[int], sampling: SamplingParameters, emit: Emit, cancelled: threading.Event
    ) -> Finish:
        """Generate after `ids`, giving each token to `emit` as it is drawn; return early once `cancelled` is set.

        Raises InputError where the model generates nothing.
        """

    @abstractmethod
    def embed(self, inputs: EncoderInputs, pooling: Pooling) -> Tensor:
        """Last hidden states in the encrypted basis. Shapes: [rows, D] pooled, [rows, T, D] for "none" (padded at the
        end with zeros), on the CPU. Raises InputError."""

    @abstractmethod
    def classify(self, inputs: EncoderInputs) -> Tensor:
        """A classifier's logits. Shapes: [rows, classes], or [rows, T, classes] with one for every token (padded at
        the end with zeros), on the CPU. Raises InputError where the model is none."""

    @abstractmethod
    def begin(self) -> HiddenSequence:
        """A new sequence for split mode. Raises InputError where the model takes no embeddings."""
