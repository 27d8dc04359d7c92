"""Between a client's plain side and the encrypted one: text, ids, pixels, hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from secure.ee.files.base import CONFIG_NAME, GENERATION_NAME
from secure.ee.files.checkpoint import OpenedCheckpoint
from secure.generation.defaults import GenerationConfig, generation_config
from secure.protocols.core.errors import CheckpointError, InputError
from secure.tokens import tokenize

# Where a configuration names no limit.
_NO_LIMIT = 1 << 20
_GENERATIVE = ("ForCausalLM", "LMHeadModel")


class Cipher:
    """Turns what the user gives into what the server takes, and back."""

    def __init__(self, checkpoint: OpenedCheckpoint) -> None:
        self._checkpoint = checkpoint
        self._transform = checkpoint.transform

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Raises CheckpointError where the checkpoint had none."""
        if self._checkpoint.tokenizer is None:
            raise CheckpointError(
                "the checkpoint was encrypted without a tokenizer; pass token ids, or encrypt it again with "
                "tokenizer.json in its folder"
            )
        return self._checkpoint.tokenizer

    @property
    def found_tokenizer(self) -> PreTrainedTokenizerBase | None:
        """None where the checkpoint had none."""
        return self._checkpoint.tokenizer

    @cached_property
    def generation_config(self) -> GenerationConfig:
        """What the base says of generation, with plain ids. Raises CheckpointError for ids that are none."""
        documents = {GENERATION_NAME: self._checkpoint.generation_config, CONFIG_NAME: self._checkpoint.config}
        return generation_config({name: document for name, document in documents.items() if document})

    @property
    def stop_ids(self) -> list[int]:
        """Plain ids at which the base ends a row."""
        return _as_list(self.generation_config.values.get("eos_token_id"))

    @property
    def _positions(self) -> int:
        config = self._checkpoint.config
        return int(config.get("max_position_embeddings") or config.get("n_positions") or _NO_LIMIT)

    @property
    def vocabulary_size(self) -> int:
        """Plain ids are below it. Raises InputError for a model that takes none."""
        vocabulary = self._checkpoint.vocabulary
        size = self._checkpoint.config.get("vocab_size") if vocabulary is None else vocabulary.size
        if not isinstance(size, int):
            raise InputError("this checkpoint takes no token ids: it computes on images")
        return size

    @property
    def generates(self) -> bool:
        """Whether the base is a language model."""
        return str((self._checkpoint.config.get("architectures") or [""])[0]).endswith(_GENERATIVE)

    def check_lengths(self, rows: Sequence[Sequence[int]]) -> None:
        """Raises InputError for a row that is longer than the model's positions, by its number."""
        for number, row in enumerate(rows):
            if len(row) > self._positions:
                raise InputError(f"input {number} has {len(row)} tokens; this model has room for {self._positions}")

    def tokenized(self, sentences: Sequence[str], truncate: bool) -> list[list[int]]:
        """Plain ids of sentences. Raises InputError by a sentence's number."""
        limit = self._positions
        return tokenize(self.tokenizer, sentences, limit=limit, vocabulary=self.vocabulary_size, truncate=truncate)

    def encrypted(self, rows: Sequence[Sequence[int]]) -> list[list[int]]:
        """Plain ids as the server's. Raises InputError for an id that the model does not know."""
        vocabulary = self._checkpoint.vocabulary
        return [list(row) if vocabulary is None else vocabulary.encrypt_ids(list(row)) for row in rows]

    def plain(self, ids: Sequence[int]) -> list[int]:
        """The server's ids as plain ones. Raises InputError for one that the model does not know."""
        vocabulary = self._checkpoint.vocabulary
        return list(ids) if vocabulary is None else vocabulary.decrypt_ids(list(ids))

    def encrypted_pixels(self, pixels: Tensor) -> Tensor:
        """Images as the server's. Shapes: [B, C, H, W] -> same."""
        if not isinstance(pixels, Tensor) or pixels.dim() != 4 or not pixels.is_floating_point():
            raise InputError("pixel_values must be a floating-point tensor of shape [batch, channels, height, width]")
        return self._transform.encrypt_pixels(pixels)

    def plain_hidden(self, hidden: Tensor) -> Tensor:
        """Hidden states of the server in the base's basis. Shapes: [B, T, D] or pooled [B, D] -> same."""
        act = self._transform.unembed if hidden.dim() == 2 else self._transform.decrypt_hidden
        return self._checkpoint.final_norm(act(hidden))


def _as_list(ids: int | Sequence[int] | None) -> list[int]:
    return [] if ids is None else [ids] if isinstance(ids, int) else list(ids)
