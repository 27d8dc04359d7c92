"""What is asked of a model before anything of it is shared: does its family of protocols serve it, and does anything
leave the range, on its owner's inputs in the clear, in fixed point as it would be shared?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from torch import Tensor

from secure.models.checkpoint.conversion import Checkpoint
from secure.models.contract.manifest import GRAPH, Manifest, ParameterSpec
from secure.models.contract.network import Inputs
from secure.models.contract.rehearsal import RangeCheck, rehearse
from secure.models.contract.request import Request
from secure.models.price import price
from secure.models.program import network
from secure.protocols.core.fixedpoint import decode
from secure.protocols.families import family


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


def check_served(manifest: Manifest, protocol: str) -> None:
    """Raises ConfigurationError that names the first layer and operation that a protocol has no program for.

    Nothing is shared, and no weight is read: the model's program runs on shapes.
    """
    if not family(protocol).serves_all:
        meant = replace(manifest, protocol=protocol)
        net = network(meant)
        if manifest.architecture == GRAPH:
            request = net.request(net.whole_output, {})  # of the batch that it was captured with
        else:
            request = Request(net.whole_output, 1, net.due_tokens or 1, masked=False)
        price(meant, request)


def check_ranges(checkpoint: Checkpoint, inputs: Inputs) -> RangeCheck:
    """What leaves the range of secure arithmetic when the whole model runs on these inputs. Nothing is shared.

    inputs: as a client gives them. Raises InputError for inputs that the model does not take.
    """
    manifest = checkpoint.manifest
    tensors = _Decoded(checkpoint.tensors, manifest.parameters)
    return rehearse(network(manifest), tensors, inputs, tables=checkpoint.embeddings, thorough=True).result
