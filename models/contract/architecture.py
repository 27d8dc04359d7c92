"""How a Hugging Face checkpoint of one family becomes the tensors of a secure model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

from secure.models.contract.manifest import Manifest, ParameterSpec
from secure.models.contract.network import Inputs, Network
from secure.models.contract.rehearsal import NormInput
from secure.protocols.core.errors import CheckpointError

Take = Callable[[str, tuple[int, ...]], Tensor]
"""take(name, shape) hands out a tensor of the checkpoint in float64, each once."""


class Config(Protocol):
    """What shapes the computation of a model, read from config.json and checked."""

    @property
    def labels(self) -> int:
        """Classes of a classifier; zero for other models."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a manifest."""


class Stored(Protocol):
    """The tensors of a checkpoint, by the architecture's names."""

    def __contains__(self, name: str) -> bool:
        """Whether there is one of that name."""

    def same(self, copy: str, original: str) -> bool:
        """Whether two of them hold the same numbers."""


class Architecture(ABC):
    """One row of the registry."""

    @property
    @abstractmethod
    def prefixes(self) -> tuple[str, ...]:
        """How the names of the body's tensors may begin in a checkpoint with a head."""

    @abstractmethod
    def parse(self, raw: Mapping[str, Any], *, head: bool = True) -> Any:
        """The family's Config from config.json; with head=False, of the body alone.

        Raises CheckpointError naming the first field that is missing or unsupported.
        """

    def fitted(self, config: Any, stored: Stored) -> Any:
        """The Config for a checkpoint of these tensors: some parts of a model are optional there."""
        return config

    @abstractmethod
    def example(self, config: Any, raw: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Inputs:
        """What to call the model with in a run in the clear, see `secure.models.contract.rehearsal`.

        raw: config.json. tensors: as `from_checkpoint` gives them.
        """

    def stream_exponent(self, config: Any, norms: Sequence[NormInput], value_bits: int) -> int:
        """By which power of two a checkpoint's residual stream should be scaled to stay below 2^value_bits.

        norms: what they saw of the example, without a scale. Raises CheckpointError when no power does.
        """
        return 0

    def with_stream_exponent(self, config: Any, exponent: int) -> Any:
        """The Config with the residual stream held times 2^exponent.

        Raises CheckpointError for a family that has no such choice, and for an exponent that no model needs.
        """
        if exponent:
            raise CheckpointError("stream_exponent is for language models: this one has no stream that grows")
        return config

    def with_small_rows(self, config: Any, tensors: Mapping[str, Tensor]) -> tuple[Any, tuple[int, ...]]:
        """The Config with embeddings held so finely that the first norm is right, and tokens of which it is not.

        tensors: as `from_checkpoint` gives them.
        """
        return config, ()

    @abstractmethod
    def parameters(self, config: Any, fraction_bits: int, *, public: bool) -> dict[str, ParameterSpec]:
        """Every tensor of the secure model. With public weights the client looks its embeddings up itself."""

    @abstractmethod
    def from_checkpoint(self, config: Any, take: Take) -> dict[str, Tensor]:
        """Those tensors in float64, and the client's tables."""

    def copies(self, config: Any) -> Mapping[str, str]:
        """Tensors that some checkpoints store a second time, by the tensor that they must equal."""
        return {}

    @abstractmethod
    def ignored(self, config: Any) -> tuple[str, ...]:
        """Beginnings of the names of tensors that this model has no use for."""

    @abstractmethod
    def network(self, manifest: Manifest) -> Network:
        """The model that a manifest describes."""
