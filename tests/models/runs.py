"""One prediction on shares by three roles in this process, and the same program on plain floats."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from models.checkpoint import Checkpoint, read_share, write_split
from models.client_inputs import decode_outputs
from models.manifest import Manifest
from models.program import Request, forward, input_specs, load, output_specs, predict
from protocols.beaver.sharing import reconstruct, share
from protocols.cleartext.protocol import CleartextProtocol
from protocols.core.secret import Protocol
from tests.in_process import run_roles


def secure_run(
    checkpoint: Checkpoint, folder: Path, request: Request, inputs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """One prediction by three roles in this process."""
    manifest = write_split(checkpoint, folder)
    payloads = share(inputs, input_specs(manifest, request))

    def program(protocol: Protocol, _: list[Tensor | None]) -> Any:
        index = None if protocol.at_dealer else protocol.role.index
        shares = None if index is None else read_share(folder / f"p{index}.safetensors", manifest, f"p{index}")
        model = load(protocol, manifest, shares)
        return predict(protocol, model, request, None if index is None else payloads[index], index)

    (first, second), _, _ = run_roles(program, [])
    specs = output_specs(manifest, request)
    return decode_outputs(reconstruct(first, second, specs), specs)


def clear_run(checkpoint: Checkpoint, request: Request, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same program on plain floats."""
    manifest: Manifest = checkpoint.manifest
    protocol = CleartextProtocol(manifest.policy)
    model = load(protocol, manifest, checkpoint.tensors)
    specs = input_specs(manifest, request)
    secrets = {name: protocol.input(inputs[name], spec.shape, spec.fraction_bits) for name, spec in specs.items()}
    outputs = forward(protocol, model, request, secrets)
    return {name: protocol.reveal(x).double() / 2.0**x.fraction_bits for name, x in outputs.items()}
