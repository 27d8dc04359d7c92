"""The client's ends of one step: what it sends to the computing parties, and what their answers say.

A client computes little, so neither end has a compiler imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from secure.models.contract.network import Inputs, Network
from secure.models.contract.request import Request
from secure.protocols.core.fixedpoint import decode
from secure.protocols.core.kernels.dispatch import with_what_is_loaded
from secure.protocols.core.secret import SecretSpec
from secure.protocols.families import family


def input_payloads(
    network: Network, request: Request, inputs: Inputs, tables: Mapping[str, Tensor], step: int = 0
) -> tuple[bytes, ...]:
    """Fresh shares of the inputs, one payload for each computing party. As for `Network.client_inputs`."""
    with with_what_is_loaded():
        specs = network.input_specs(request, step)
        tensors = network.client_inputs(request, inputs, tables, specs, step)
        return family(network.manifest.protocol).share(tensors, specs)


def step_outputs(network: Network, request: Request, payloads: tuple[bytes, ...], step: int = 0) -> dict[str, Tensor]:
    """What the client gets, named and shaped as in `due_outputs`: float32, but for numbers of tokens: int64.

    Raises ProtocolError for other sizes, and where parties disagree about what both of them hold.
    """
    specs = due_outputs(network, request, step)
    with with_what_is_loaded():
        tensors = family(network.manifest.protocol).reconstruct(payloads, specs)
    return {
        # What has no fraction bits is a token's number, and no real one.
        name: decode(tensors[name], spec.fraction_bits).to(torch.float32) if spec.fraction_bits else tensors[name]
        for name, spec in specs.items()
    }


def due_outputs(network: Network, request: Request, step: int) -> dict[str, SecretSpec]:
    """What the client gets at one step: as in `Network.output_specs`, at the scale that the model's owner has set."""
    specs, bits = network.output_specs(request, step), network.manifest.output_bits
    if bits is None:
        return specs
    return {name: replace(spec, fraction_bits=min(spec.fraction_bits, bits)) for name, spec in specs.items()}
