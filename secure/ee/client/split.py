"""Split mode at the client: it keeps embedding and head, the server has the layers between them.

    x = E'[τ(id)]            here         E' the encrypted embedding, in the server's basis
    h = layers(x)            the server   one vector for each position goes out, one comes back
    logits = h · head'ᵀ      here         then drawn here, and permuted back

Ids never leave, nor does the text's length in tokens stay hidden: there is one vector for each. Vectors that the server
sees many of can be matched (SECURITY.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import LogitsProcessor, TemperatureLogitsWarper, TopPLogitsWarper

from secure.ee.client.client import Client
from secure.ee.client.runner import Runner
from secure.ee.files.folder import TensorFolder
from secure.ee.files.transforms import vocabulary_tables
from secure.ee.files.writer import CLIENT_TENSORS
from secure.parties.encrypted.engine import Sampling
from secure.protocols.core.errors import CheckpointError


class SplitTables:
    """The client's embedding and head."""

    def __init__(self, client: Client) -> None:
        """Raises CheckpointError when they are missing or changed."""
        client.manifest.check_file(client.folder, CLIENT_TENSORS)
        tensors = TensorFolder(client.folder, CLIENT_TENSORS)
        self._tables = {name: tensors(name) for name in vocabulary_tables(client.transform)}
        embedding = next((table for name, table in self._tables.items() if _is_embedding(name)), None)
        if embedding is None:
            raise CheckpointError(f"{client.folder / CLIENT_TENSORS} has no embedding")
        self.embedding = embedding
        head = self._tables.get("lm_head.weight", embedding)
        self._head = head.float()
        bias = self._tables.get("lm_head.bias")
        self._bias = None if bias is None else bias.float()

    def logits(self, hidden: Tensor) -> Tensor:
        """Shapes: [D] -> float32 [V], in the encrypted order."""
        return torch.nn.functional.linear(hidden.float(), self._head, self._bias)

    def generate(self, runner: Runner, ids: Sequence[int], sampling: Sampling) -> Iterator[int]:
        """As `Runner.generate`; the sampling's stop ids alone end it early."""
        draw = _Draw(sampling)
        with runner.sequence() as sequence, torch.inference_mode():
            known = torch.tensor(list(ids))
            for _ in range(sampling.max_new_tokens):
                hidden = sequence.extend(self.embedding[known])
                token = draw(self.logits(hidden[-1]))
                yield token
                if token in sampling.stop_ids:
                    return
                known = torch.tensor([token])


def is_split_client(folder: Path) -> bool:
    """Whether a folder is the client's of a split checkpoint."""
    return (folder / CLIENT_TENSORS).is_file()


def _is_embedding(name: str) -> bool:
    return not name.startswith("lm_head")


class _Draw:
    """One token after the other. The choice is the client's own, so its randomness is no secret of the protocol."""

    def __init__(self, sampling: Sampling) -> None:
        self._greedy = sampling.temperature == 0
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)
        self._warpers: list[LogitsProcessor] = (
            [] if self._greedy else [TemperatureLogitsWarper(float(sampling.temperature))]
        )
        if not self._greedy and sampling.top_p < 1:
            self._warpers.append(TopPLogitsWarper(sampling.top_p))

    def __call__(self, logits: Tensor) -> int:
        if self._greedy:
            return int(logits.argmax())
        scores = logits[None]
        for warper in self._warpers:
            scores = warper(None, scores)
        return int(torch.multinomial(scores.softmax(-1)[0], 1, generator=self._generator))
