"""A model of one family as its manifest describes it: what a session exchanges, and what every role computes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from secure.models.contract.manifest import Manifest
from secure.models.contract.request import Output, Request
from secure.protocols.core.secret import Protocol, Secret, SecretSpec

Inputs = Mapping[str, Tensor | None]
"""What a user calls a model with, by transformers' names: input_ids, attention_mask, pixel_values, ..."""


class Network(ABC):
    """One model. Everything here follows from the manifest; weights and secrets are passed in."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    few_rows = False
    """Whether most of its time it multiplies few rows at a time, as one that generates does."""

    # Both sides.

    @property
    def due_tokens(self) -> int | None:
        """How many tokens, patches or others, every input has; None where inputs differ."""
        return None

    @property
    @abstractmethod
    def layers(self) -> int:
        """Layers that a step of a session begins, for a progress bar."""

    @property
    @abstractmethod
    def whole_output(self) -> Output:
        """What the whole model computes, its head included."""

    def attended(self, tokens: int | None) -> int:
        """How many tokens attention mixes at the most in an input of that many, or in the longest one."""
        return tokens or 1

    @abstractmethod
    def validate(self, request: Request) -> None:
        """Raises InputError when the model cannot serve this request."""

    @abstractmethod
    def input_specs(self, request: Request, step: int) -> dict[str, SecretSpec]:
        """What the client shares at one step."""

    @abstractmethod
    def output_specs(self, request: Request, step: int) -> dict[str, SecretSpec]:
        """What the client gets back."""

    # The parties' side.

    @abstractmethod
    def forward(
        self,
        protocol: Protocol,
        weights: Mapping[str, Any],
        request: Request,
        inputs: Mapping[str, Secret],
        state: Any = None,
    ) -> tuple[dict[str, Secret], Any]:
        """One step on secret inputs, named as in `input_specs`; results named as in `output_specs`.

        state: what the step before returned as its second value, None at the first one.
        """

    # The client's side.

    @abstractmethod
    def request(self, output: Output, inputs: Inputs, *, steps: int = 1) -> Request:
        """The public part of a session. Raises InputError for an input of the wrong type or shape."""

    @abstractmethod
    def client_inputs(
        self,
        request: Request,
        inputs: Inputs,
        tables: Mapping[str, Tensor],
        specs: Mapping[str, SecretSpec],
        step: int = 0,
    ) -> dict[str, Tensor]:
        """Ring elements to share, one for each of the specs.

        specs: of this step, as `input_specs` gives them. tables: of a public checkpoint, the float tables that the
        client looks its embeddings up in. At a later step input_ids, [B, 1], are the tokens that every row goes on
        with, and everything else is as at the first one.

        Raises InputError saying what is wrong with the input.
        """

    @property
    @abstractmethod
    def tables(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the float tables that a client looks up with public weights."""

    @property
    @abstractmethod
    def output_class(self) -> str:
        """The class of transformers that holds the tensors of the whole output."""
