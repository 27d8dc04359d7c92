"""Sessions on shares by three roles in this process, and the same program on plain floats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from secure.models.checkpoint.conversion import Checkpoint, read_share, write_split
from secure.models.contract.exchange import input_payloads, step_outputs
from secure.models.contract.network import Inputs, Network
from secure.models.contract.request import Output, Request
from secure.models.program import load, network, serve
from secure.protocols.beaver.protocol import BeaverProtocol
from secure.protocols.cleartext.protocol import CleartextProtocol
from secure.protocols.core.cost import Meter
from secure.protocols.core.secret import Protocol
from secure.protocols.masked.roles import Dealer
from secure.protocols.replicated.protocol import ReplicatedParty
from tests.in_process import BEAVER, Family, GivenSteps

Outputs = dict[str, Tensor]


def secure_run(
    checkpoint: Checkpoint, folder: Path, output: Output, inputs: Inputs, family: Family = BEAVER
) -> Outputs:
    """One prediction by three roles in this process."""
    (outputs,), _ = secure_steps(checkpoint, folder, output, [inputs], family=family)
    return outputs


def secure_steps(
    checkpoint: Checkpoint,
    folder: Path,
    output: Output,
    inputs: Sequence[Inputs],
    steps: int | None = None,
    *,
    family: Family = BEAVER,
) -> tuple[list[Outputs], dict[str, Meter]]:
    """A session whose inputs, one a step, are known beforehand. steps: how many there might be, as many by default."""
    manifest = write_split(checkpoint, folder, protocol=family.name)
    net = network(manifest)
    request = net.request(output, inputs[0], steps=steps or len(inputs))
    payloads = [input_payloads(net, request, given, checkpoint.embeddings, i) for i, given in enumerate(inputs)]

    def program(protocol: Protocol, _: list[Tensor | None]) -> Any:
        index = party_index(protocol)
        shares = None if index is None else read_share(folder / f"p{index}.safetensors", manifest, f"p{index}")
        model = load(protocol, manifest, shares)
        client = GivenSteps(*(b"" if index is None else pair[index] for pair in payloads))
        serve(protocol, model, request, client, index)
        return client.outputs

    outputs, meters, _ = family.run(program, [], policy=manifest.policy)
    answers = zip(*outputs, strict=True)
    return [step_outputs(net, request, payloads, i) for i, payloads in enumerate(answers)], meters


def party_index(protocol: Protocol) -> int | None:
    """Of a computing party; None at the dealer."""
    if isinstance(protocol, ReplicatedParty):
        return protocol.index
    assert isinstance(protocol, BeaverProtocol)
    return None if isinstance(protocol.role, Dealer) else protocol.role.index


def clear_run(checkpoint: Checkpoint, output: Output, inputs: Inputs) -> Outputs:
    """One prediction on plain floats."""
    return clear_steps(checkpoint, output, [inputs])[0]


def client_inputs(net: Network, request: Request, inputs: Inputs) -> dict[str, Tensor]:
    """What a client shares at the first step. Raises as `Network.client_inputs`."""
    return net.client_inputs(request, inputs, {}, net.input_specs(request, 0))


def clear_steps(
    checkpoint: Checkpoint, output: Output, inputs: Sequence[Inputs], request: Request | None = None
) -> list[Outputs]:
    """A session on plain floats. request: another one than follows from the inputs."""
    manifest = checkpoint.manifest
    net, protocol = network(manifest), CleartextProtocol(manifest.policy)
    request = request or net.request(output, inputs[0], steps=len(inputs))
    model, state, found = load(protocol, manifest, checkpoint.tensors), None, []
    for step, given in enumerate(inputs):
        specs = net.input_specs(request, step)
        tensors = net.client_inputs(request, given, checkpoint.embeddings, specs, step)
        secrets = {name: protocol.input(tensors[name], spec.shape, spec.fraction_bits) for name, spec in specs.items()}
        outputs, state = net.forward(protocol, model.weights, request, secrets, state)
        found.append({name: protocol.reveal(x).double() / 2.0**x.fraction_bits for name, x in outputs.items()})
    return found
