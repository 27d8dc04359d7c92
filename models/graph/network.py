"""A captured module in a session: what a client shares and gets, and the graph between."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from secure.models.contract.manifest import Manifest
from secure.models.contract.network import Inputs, Network
from secure.models.contract.request import Output, Request
from secure.models.graph.description import Embedding, Graph, Node, read_graph
from secure.models.inputs.token_inputs import one_hot_spec
from secure.protocols.core.errors import InputError
from secure.protocols.core.fixedpoint import encode
from secure.protocols.core.primitives import known_below
from secure.protocols.core.secret import Protocol, Secret, SecretSpec
from secure.protocols.functions.embedding import embedding


class GraphNetwork(Network):
    """Serves exactly the shapes that the module was captured with."""

    def __init__(self, manifest: Manifest) -> None:
        """Raises CheckpointError when the manifest's graph is wrong in any field."""
        super().__init__(manifest)
        self.graph = read_graph(manifest)

    # Both sides.

    @property
    def due_tokens(self) -> int:
        return 1

    @property
    def layers(self) -> int:
        labels = [node.layer for node in self.graph.nodes]
        changes = sum(before != after for before, after in zip(["", *labels], labels, strict=False))
        return changes + bool(self.graph.embeddings) + 1  # the last one reveals

    @property
    def whole_output(self) -> Output:
        return "hidden"  # a module has but one kind of output

    @property
    def tables(self) -> dict[str, tuple[int, ...]]:
        return {e.table: (e.rows, e.width) for e in self.graph.embeddings}

    @property
    def output_class(self) -> str:
        return self.graph.structure  # of no class of transformers

    def validate(self, request: Request) -> None:
        due = Request("hidden", self._batch, 1, masked=False)
        if request != due:
            raise InputError(f"this model serves the request {due.to_json()} and no other")

    @property
    def _batch(self) -> int:
        """What reports count as sequences: the first axis, where all inputs have the same."""
        lengths = {given.shape[0] if given.shape else 1 for given in self.graph.inputs}
        return lengths.pop() if len(lengths) == 1 else 1

    def input_specs(self, request: Request, step: int) -> dict[str, SecretSpec]:
        f = self.manifest.policy.fraction_bits
        specs = {given.name: SecretSpec(given.shape, f) for given in self.graph.reals}
        for name, (shape, entry) in self._lookups.items():
            public = self.manifest.weights == "public"
            specs[name] = (
                SecretSpec((*shape, entry.width), f) if public else one_hot_spec(shape, entry.rows, entry.rows)
            )
        return specs

    @property
    def _lookups(self) -> dict[str, tuple[tuple[int, ...], Embedding]]:
        """What is shared of indices: the names of one-hot vectors or rows, with the indices' shape and the table."""
        shapes = {given.name: given.shape for given in self.graph.inputs}
        return {f"embedding/{i}": (shapes[e.input], e) for i, e in enumerate(self.graph.embeddings)}

    def output_specs(self, request: Request, step: int) -> dict[str, SecretSpec]:
        shapes, f = self.graph.shapes, self.manifest.policy.fraction_bits
        return {_output_name(i): SecretSpec(shapes[n], f) for i, n in enumerate(self.graph.outputs)}

    # The parties' side.

    def forward(
        self,
        protocol: Protocol,
        weights: Mapping[str, Any],
        request: Request,
        inputs: Mapping[str, Secret],
        state: Any = None,
    ) -> tuple[dict[str, Secret], Any]:
        graph = self.graph
        values: list[Secret | None] = [inputs[given.name] for given in graph.reals]
        if graph.embeddings:
            with protocol.layer("embeddings"):
                values += [self._embed(protocol, weights, inputs[name], e) for name, (_, e) in self._lookups.items()]
        last = _last_uses(graph)
        for group in _by_layer(graph.nodes):
            with protocol.layer(group[0].layer):
                for node in group:
                    values.append(evaluate(protocol, weights, node, values))
                    for used in node.values:
                        if last[used] < len(values):
                            values[used] = None  # a party keeps no more than it needs
        return {_output_name(i): _kept(values, value) for i, value in enumerate(graph.outputs)}, None

    def _embed(self, protocol: Protocol, weights: Mapping[str, Any], given: Secret, entry: Embedding) -> Secret:
        """Rows, from one-hot vectors or from the rows that the client looked up."""
        return given if self.manifest.weights == "public" else embedding(given, weights[entry.table])

    # The client's side.

    def request(self, output: Output, inputs: Inputs, *, steps: int = 1) -> Request:
        return Request(output, self._batch, 1, masked=False, steps=steps)

    def client_inputs(
        self,
        request: Request,
        inputs: Inputs,
        tables: Mapping[str, Tensor],
        specs: Mapping[str, SecretSpec],
        step: int = 0,
    ) -> dict[str, Tensor]:
        self.validate(request)
        policy = self.manifest.policy
        given = self._checked(inputs)
        tensors = {}
        for real in self.graph.reals:
            tensors[real.name] = encode(
                given[real.name], policy.fraction_bits, bound_bits=policy.value_bits, what=f"input {real.name!r}"
            )
        for name, (_, entry) in self._lookups.items():
            indices = given[entry.input].to(torch.int64)
            if bool(((indices < 0) | (indices >= entry.rows)).any()):
                raise InputError(f"input {entry.input!r} has an index outside 0 to {entry.rows - 1}")
            if self.manifest.weights == "public":
                if entry.table not in tables:
                    raise InputError("weights are public: the client needs the model's embedding tables")
                rows = tables[entry.table][indices]
                tensors[name] = encode(rows, policy.fraction_bits, bound_bits=policy.value_bits, what=entry.table)
            else:
                tensors[name] = torch.nn.functional.one_hot(indices, entry.rows)
        return tensors

    def _checked(self, inputs: Inputs) -> dict[str, Tensor]:
        """The inputs, all there and of the shapes and types that the module was captured with."""
        due = {given.name: given for given in self.graph.inputs}
        if set(inputs) != set(due):
            raise InputError(f"inputs are {', '.join(inputs)}; due are {', '.join(due)}")
        found = {}
        for name, given in due.items():
            tensor, kind = inputs[name], "integers" if given.indices else "real numbers"
            if not isinstance(tensor, Tensor):
                raise InputError(f"input {name!r} must be a torch tensor, not {type(tensor).__name__}")
            whole = not tensor.is_floating_point() and not tensor.is_complex() and tensor.dtype != torch.bool
            if whole != given.indices or tensor.is_complex() or tensor.dtype == torch.bool:
                raise InputError(f"input {name!r} must hold {kind}, not {tensor.dtype}")
            if tuple(tensor.shape) != given.shape:
                raise InputError(
                    f"input {name!r} has shape {list(tensor.shape)}; the module was captured with {list(given.shape)} "
                    "and serves no other; capture it once more for another one"
                )
            found[name] = tensor
        return found

    def arrange(self, outputs: Mapping[str, Tensor]) -> Any:
        """The outputs, named as in `output_specs`, as the module returns them: a tensor, tuple, list or dict."""
        tensors = [outputs[_output_name(i)] for i in range(len(self.graph.outputs))]
        if self.graph.structure == "tensor":
            return tensors[0]
        if self.graph.structure == "dict":
            return dict(zip(self.graph.keys, tensors, strict=True))
        return tensors if self.graph.structure == "list" else tuple(tensors)


def evaluate(protocol: Protocol, weights: Mapping[str, Any], node: Node, values: Sequence[Secret | None]) -> Secret:
    """The value of one node. What follows takes it to be in the policy's range."""
    arguments = [_kept(values, i) for i in node.values]
    parameters = [weights[name] for name in node.parameters]
    result = node.operation.run(protocol, arguments, parameters)
    return known_below(result, 2.0**protocol.policy.value_bits, f"a result ({type(node.operation).__name__})")


def _kept(values: Sequence[Secret | None], number: int) -> Secret:
    value = values[number]
    assert value is not None
    return value


def _output_name(index: int) -> str:
    return f"output/{index:03d}"


def _last_uses(graph: Graph) -> dict[int, float]:
    """The number of the last value that each one is used for; infinity for outputs."""
    first = len(graph.reals) + len(graph.embeddings)
    last: dict[int, float] = {}
    for number, node in enumerate(graph.nodes, first):
        last |= dict.fromkeys(node.values, number)
    return last | dict.fromkeys(graph.outputs, math.inf)


def _by_layer(nodes: Sequence[Node]) -> list[list[Node]]:
    """Neighbours of one layer together."""
    groups: list[list[Node]] = []
    for node in nodes:
        if groups and groups[-1][0].layer == node.layer:
            groups[-1].append(node)
        else:
            groups.append([node])
    return groups
