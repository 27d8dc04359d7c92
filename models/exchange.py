"""The client's ends of one step: what it sends to P0 and P1, and what their answers say."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from models.network import Inputs, Network
from models.request import Request
from protocols.beaver.sharing import reconstruct, share
from protocols.core.fixedpoint import decode


def input_payloads(
    network: Network, request: Request, inputs: Inputs, tables: Mapping[str, Tensor], step: int = 0
) -> tuple[bytes, bytes]:
    """Fresh shares of the inputs. Arguments and errors as for `Network.client_inputs`."""
    return share(network.client_inputs(request, inputs, tables, step), network.input_specs(request, step))


def step_outputs(network: Network, request: Request, payloads: tuple[bytes, bytes], step: int = 0) -> dict[str, Tensor]:
    """Real numbers, named and shaped as in `Network.output_specs`; float32. Raises ProtocolError for other sizes."""
    specs = network.output_specs(request, step)
    tensors = reconstruct(*payloads, specs)
    return {name: decode(tensors[name], spec.fraction_bits).to(torch.float32) for name, spec in specs.items()}
