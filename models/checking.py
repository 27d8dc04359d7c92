"""A model on its owner's inputs in the clear, in fixed point as it would be shared: does anything leave the range?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from secure.models.checkpoint.conversion import Checkpoint
from secure.models.contract.manifest import ParameterSpec
from secure.models.contract.network import Inputs
from secure.models.contract.rehearsal import RangeCheck, rehearse
from secure.models.program import network
from secure.protocols.core.fixedpoint import decode


class _Decoded(Mapping[str, Tensor]):
    """A model's tensors as parties would compute with them, one at a time."""

    def __init__(self, encoded: Mapping[str, Tensor], specs: Mapping[str, ParameterSpec]) -> None:
        self._encoded, self._specs = encoded, specs

    def __getitem__(self, name: str) -> Tensor:
        return decode(self._encoded[name], self._specs[name].fraction_bits)

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)


def check_ranges(checkpoint: Checkpoint, inputs: Inputs) -> RangeCheck:
    """What leaves the range of secure arithmetic when the whole model runs on these inputs. Nothing is shared.

    inputs: as a client gives them. Raises InputError for inputs that the model does not take.
    """
    manifest = checkpoint.manifest
    tensors = _Decoded(checkpoint.tensors, manifest.parameters)
    return rehearse(network(manifest), tensors, inputs, tables=checkpoint.embeddings, thorough=True).result
