"""A captured graph on the example, in the clear, before anybody shares anything: is it right, and is it in range?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from secure.models.contract.manifest import Kind
from secure.models.contract.rehearsal import Rehearsal
from secure.models.graph.description import Graph
from secure.models.graph.network import evaluate
from secure.protocols.cleartext.protocol import ClearSecret
from secure.protocols.core.errors import BoundError, CheckpointError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.secret import Secret

_TOLERANCE = 1e-2
"""Relative to the largest output, and absolute. The functions are the same, but float32 is rounded, and a softmax takes
exponentials below 2^-15.75 as zero, which over hundreds of elements comes to some thousandths. An operator that was
understood wrongly is off by far more."""


def rehearse(
    graph: Graph,
    lines: Sequence[str],
    parameters: Mapping[str, tuple[Kind, Tensor]],
    policy: FixedPointPolicy,
    inputs: Mapping[str, Tensor],
    expected: Sequence[Tensor],
    *,
    in_range: bool,
) -> None:
    """Run the graph on float64 numbers. lines: of user code, for each node. inputs: by name.

    Raises BoundError, naming the line, where a number leaves the fixed-point range and that is asked for by `in_range`,
    and CheckpointError when the result is not what the module computes.
    """
    # With our functions, which in the clear are exact: PUMA's are off by more than the tolerance.
    protocol, f = Rehearsal(replace(policy, functions="ours"), thorough=True), policy.fraction_bits
    weights = {name: ClearSecret(protocol, f, tensor) for name, (_, tensor) in parameters.items()}
    values: list[Secret | None] = [
        ClearSecret(protocol, f, inputs[i.name].cpu().to(torch.float64)) for i in graph.reals
    ]
    for e in graph.embeddings:
        values.append(ClearSecret(protocol, f, parameters[e.table][1][inputs[e.input].cpu().long()]))
    for node, line in zip(graph.nodes, lines, strict=True):
        with protocol.layer(node.layer):
            values.append(evaluate(protocol, weights, node, values))
        if protocol.findings and in_range:
            finding = protocol.findings[0]
            raise BoundError(f"{line}: for the example, {finding}; scale the model down, or normalise what it computes")
    if protocol.findings:
        return  # what is computed outside of the range need not be what the module computes
    for i, (number, due) in enumerate(zip(graph.outputs, expected, strict=True)):
        found, due = _number(values[number]), due.cpu()
        difference = float((found - due).abs().max()) if found.shape == due.shape else float("inf")
        if not difference <= _TOLERANCE * (1 + float(due.abs().max())):
            raise CheckpointError(
                f"output {i} of the captured module differs from the module's own by {difference:.3g} for the example. "
                "Does it use random numbers, or change with every call? If not, this is a defect: please report it"
            )


def _number(value: Secret | None) -> Tensor:
    assert isinstance(value, ClearSecret)
    return value.value
