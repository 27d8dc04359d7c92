"""A graph while it is being made from a module, at its owner: values are objects, parameters are tensors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from secure.models.contract.manifest import Kind, ParameterSpec
from secure.models.graph.description import Embedding, Graph, Input, Node, Structure
from secure.models.graph.layers import Gain, Offset
from secure.models.graph.operation import Operation, Shape, check_size


@dataclass(frozen=True, eq=False)
class Value:
    """A secret tensor of the graph."""

    shape: Shape


@dataclass(frozen=True, eq=False)
class Indices:
    """An input of integers, which only embeddings take."""

    input: Input


@dataclass(eq=False)
class TracedNode:
    """A node and the line of user code that it comes from."""

    operation: Operation
    values: tuple[Value, ...]
    parameters: tuple[str, ...]
    result: Value
    layer: str
    line: str


class GraphBuilder:
    """private: whether parameters will be. layer, line, for_softmax: where the next node is, and who alone reads it.

    unit_rows: for a norm the rows that it is of, and those rows divided by it.
    """

    def __init__(self, *, private: bool) -> None:
        self.private = private
        self.layer = self.line = ""
        self.for_softmax = False
        self.unit_rows: dict[Value, tuple[Value, Value]] = {}
        self.steps: dict[Value, TracedNode] = {}
        self.names: dict[int, str] = {}
        self._inputs: list[Input] = []
        self._reals: list[Value] = []
        self._embeddings: dict[Value, Embedding] = {}
        self._parameters: dict[str, tuple[Kind, Tensor]] = {}
        self._stored: dict[tuple[int, Kind, str], str] = {}
        self._alive: list[Tensor] = []  # else an id could come to mean another tensor

    def input(self, name: str, example: Tensor) -> Value | Indices:
        """An argument of the module."""
        given = Input(name, tuple(example.shape), not example.is_floating_point())
        self._inputs.append(given)
        if given.indices:
            return Indices(given)
        value = Value(given.shape)
        self._reals.append(value)
        return value

    def name_tensor(self, tensor: Tensor, name: str) -> Tensor:
        """The tensor, which errors and the manifest call by this name from now on."""
        self._alive.append(tensor)
        self.names.setdefault(id(tensor), name)
        return tensor

    def add(self, operation: Operation, *values: Value, parameters: Sequence[str] = ()) -> Value:
        """A node. Raises CheckpointError when the operation does not take such shapes."""
        specs = [tuple(self._parameters[name][1].shape) for name in parameters]
        shape = check_size(operation.shape([value.shape for value in values], specs), type(operation).__name__)
        result = Value(shape)
        self.steps[result] = TracedNode(operation, values, tuple(parameters), result, self.layer, self.line)
        return result

    def embed(self, indices: Indices, table: Tensor) -> Value:
        """Rows of a table."""
        name = self.parameter(table, "table", "table")
        entry = Embedding(indices.input.name, name, *table.shape)
        value = Value((*indices.input.shape, entry.width))
        self._embeddings[value] = entry
        return value

    def parameter(
        self, tensor: Tensor, kind: Kind, role: str, *, original: Tensor | None = None, form: str = ""
    ) -> str:
        """The name of a parameter of the model; one that is stored already serves again.

        role: what it is called within its layer. original: the module's tensor that it was made of, and form: how.
        """
        source = tensor if original is None else original
        key = id(source), kind, form
        if key not in self._stored:
            self._alive.append(source)
            wanted = plain_name(self.names.get(id(source), f"{self.layer}.{role}"))
            name, number = wanted, 2
            while name in self._parameters:
                name, number = f"{wanted}.{number}", number + 1
            self._parameters[name] = kind, tensor.detach().cpu().to(torch.float64)
            self._stored[key] = name
        return self._stored[key]

    def gain(self, tensor: Tensor) -> Value:
        """A tensor of the module as a factor."""
        name = self.parameter(tensor.reshape(-1), "gain", "gain", original=tensor, form="flat")
        return self.add(Gain(tuple(tensor.shape)), parameters=[name])

    def offset(self, tensor: Tensor) -> Value:
        """A tensor of the module as an addend."""
        name = self.parameter(tensor.reshape(-1), "offset", "offset", original=tensor, form="flat")
        return self.add(Offset(tuple(tensor.shape)), parameters=[name])

    def tensor(self, name: str) -> Tensor:
        """A parameter in float64."""
        return self._parameters[name][1]

    def finish(
        self, outputs: Sequence[Value], structure: Structure, keys: Sequence[str]
    ) -> tuple[Graph, list[str], dict[str, tuple[Kind, Tensor]]]:
        """The graph, a line of user code for each node, and its parameters. What no output needs is left out."""
        needed, stack = set(outputs), list(outputs)
        while stack:
            step = self.steps.get(stack.pop())
            for value in step.values if step else ():
                if value not in needed:
                    needed.add(value)
                    stack.append(value)
        embeddings = {value: entry for value, entry in self._embeddings.items() if value in needed}
        steps = [step for value, step in self.steps.items() if value in needed]
        order = [*self._reals, *embeddings, *(step.result for step in steps)]
        number = {value: i for i, value in enumerate(order)}
        nodes = [
            Node(s.operation, tuple(number[v] for v in s.values), s.parameters, s.result.shape, s.layer) for s in steps
        ]
        graph = Graph(
            tuple(self._inputs),
            tuple(embeddings.values()),
            tuple(nodes),
            tuple(number[value] for value in outputs),
            structure,
            tuple(keys),
        )
        used = {name for step in steps for name in step.parameters} | {e.table for e in embeddings.values()}
        parameters = {name: stored for name, stored in self._parameters.items() if name in used}
        return graph, [step.line for step in steps], parameters


def plain_name(name: str) -> str:
    """A name of the module with letters, digits, dots and underscores alone, as descriptions have them."""
    return re.sub(r"[^A-Za-z0-9_.]", "_", name).strip(".")[:150]


def specs_of(parameters: dict[str, tuple[Kind, Tensor]], fraction_bits: int) -> dict[str, ParameterSpec]:
    """The parameters as a manifest describes them."""
    return {name: ParameterSpec(tuple(t.shape), kind, fraction_bits) for name, (kind, t) in parameters.items()}
