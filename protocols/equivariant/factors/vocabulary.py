"""Vocabulary: a secret permutation τ of all token ids.

Transforms: E ← ΠE, head ← head·Πᵀ (rows of the embedding and of the head, and the head's bias, move together); ids go
through τ on their way in and out, with every field of a configuration that holds an id.

Exact because an embedding is looked up by row and a head's output is one number for each row: no arithmetic touches
the order of rows. Every value keeps its bits.

Leaves: each row as a set of values with its norm; all inner products of rows; the frequencies of ids in traffic, as a
τ that stays fixed is a substitution cipher. A template that is known in clear gives its ids away at once. Keys should
therefore be short-lived: a new epoch of the key changes this factor alone, at the cost of moving rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor

from secure.protocols.core.errors import InputError
from secure.protocols.equivariant.action import Permutation
from secure.protocols.equivariant.key import Key


class Vocabulary:
    """τ and its inverse. Row `encrypt_ids(i)` of the encrypted embedding is row i of the base's."""

    def __init__(self, key: Key, size: int) -> None:
        self.size = size
        self._base = key.stream("vocabulary").permutation(size)
        self._encrypted = torch.argsort(self._base)

    @property
    def rows(self) -> Permutation:
        """The action on rows of embedding and head, so of logits too."""
        return Permutation(self._base)

    @overload
    def encrypt_ids(self, ids: Tensor) -> Tensor: ...
    @overload
    def encrypt_ids(self, ids: Sequence[int]) -> list[int]: ...
    def encrypt_ids(self, ids: Tensor | Sequence[int]) -> Tensor | list[int]:
        """Ids of the base model as ids of the encrypted one. Raises InputError for an id outside the vocabulary.

        Shapes: integer tensor of any shape -> same shape and dtype; a sequence -> a list.
        """
        return self._map(self._encrypted, ids)

    @overload
    def decrypt_ids(self, ids: Tensor) -> Tensor: ...
    @overload
    def decrypt_ids(self, ids: Sequence[int]) -> list[int]: ...
    def decrypt_ids(self, ids: Tensor | Sequence[int]) -> Tensor | list[int]:
        """Ids of the encrypted model as ids of the base. Shapes and errors as `encrypt_ids`."""
        return self._map(self._base, ids)

    def decrypt_logits(self, logits: Tensor) -> Tensor:
        """Logits of the encrypted model in the base's order. Shapes: [..., size] -> same."""
        return logits.index_select(-1, self._encrypted.to(logits.device))

    def _map(self, table: Tensor, ids: Tensor | Sequence[int]) -> Tensor | list[int]:
        if not isinstance(ids, Tensor):
            return [int(value) for value in self._look_up(table, torch.tensor(list(ids), dtype=torch.int64))]
        return self._look_up(table.to(ids.device), ids.long()).to(ids.dtype)

    def _look_up(self, table: Tensor, ids: Tensor) -> Tensor:
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < self.size:
            # The ids themselves are the client's secret: only the range is told.
            raise InputError(f"a token id lies outside the vocabulary of {self.size}")
        return table[ids]
