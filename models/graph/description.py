"""A captured module as plain data: what a manifest holds of it, and what every role checks before it runs.

Roles get no code. They get names of operations from a fixed table, references to earlier values, parameters by name,
shapes and numbers. Every field is checked: a description that is wrong anywhere is refused whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from secure.models.contract.manifest import Manifest, ParameterSpec
from secure.models.graph import arithmetic, layers, views, windows
from secure.models.graph.operation import MOST_ELEMENTS, Operation, Shape, check_size, require
from secure.protocols.core.errors import CheckpointError
from secure.protocols.core.fixedpoint import FixedPointPolicy

OPERATIONS: Mapping[str, type[Operation]] = {
    "adaptive_windows": windows.AdaptiveWindows,
    "add": arithmetic.Add,
    "add_number": arithmetic.AddNumber,
    "at_least": arithmetic.AtLeast,
    "concatenate": views.Concatenate,
    "convolution": layers.Convolution,
    "divide": arithmetic.Divide,
    "expand": views.Expand,
    "flip": views.Flip,
    "function": arithmetic.Function,
    "gain": layers.Gain,
    "larger": arithmetic.Larger,
    "layer_norm": layers.LayerNorm,
    "linear": layers.LinearLayer,
    "log_softmax": arithmetic.LogSoftmax,
    "matmul": arithmetic.Matmul,
    "maximum": arithmetic.Maximum,
    "mean": arithmetic.Mean,
    "multiply": arithmetic.Multiply,
    "multiply_number": arithmetic.MultiplyNumber,
    "offset": layers.Offset,
    "pad": views.Pad,
    "permute": views.PermuteAxes,
    "rms_norm": layers.RootMeanSquareNorm,
    "reshape": views.Reshape,
    "slice": views.Slice,
    "softmax": arithmetic.Softmax,
    "subtract": arithmetic.Subtract,
    "sum": arithmetic.Sum,
    "unit_rows": arithmetic.UnitRows,
    "windows": windows.Windows,
}
"""All that a description can ask for."""

Structure = Literal["tensor", "tuple", "list", "dict"]
_NAMES = {kind: name for name, kind in OPERATIONS.items()}
_MOST_NODES = 20_000
_MOST_INPUTS = 100
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]{0,199}")


@dataclass(frozen=True)
class Input:
    """A tensor that the client calls the model with. indices: integers, for embeddings only; else real numbers."""

    name: str
    shape: Shape
    indices: bool


@dataclass(frozen=True)
class Embedding:
    """Rows of a table, chosen by an input of indices: a value of the input's shape and the table's width."""

    input: str
    table: str
    rows: int
    width: int


@dataclass(frozen=True)
class Node:
    """One operation. values: earlier values that it takes, by number; layer: whose costs they are in a report."""

    operation: Operation
    values: tuple[int, ...]
    parameters: tuple[str, ...]
    shape: Shape
    layer: str


@dataclass(frozen=True)
class Graph:
    """Values are numbered: inputs of real numbers, then embeddings, then nodes, each in order.

    outputs: numbers of the values that the client gets, which structure and keys say how to arrange.
    """

    inputs: tuple[Input, ...]
    embeddings: tuple[Embedding, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[int, ...]
    structure: Structure
    keys: tuple[str, ...] = ()

    @property
    def reals(self) -> tuple[Input, ...]:
        """Inputs that are values themselves."""
        return tuple(given for given in self.inputs if not given.indices)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shapes of all values."""
        by_name = {given.name: given.shape for given in self.inputs}
        embedded = [(*by_name[e.input], e.width) for e in self.embeddings]
        return (*(given.shape for given in self.reals), *embedded, *(node.shape for node in self.nodes))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a manifest."""
        return {
            "inputs": [{"name": i.name, "shape": list(i.shape), "indices": i.indices} for i in self.inputs],
            "embeddings": [
                {"input": e.input, "table": e.table, "rows": e.rows, "width": e.width} for e in self.embeddings
            ],
            "nodes": [
                {
                    "operation": _NAMES[type(node.operation)],
                    "settings": node.operation.settings,
                    "values": list(node.values),
                    "parameters": list(node.parameters),
                    "shape": list(node.shape),
                    "layer": node.layer,
                }
                for node in self.nodes
            ],
            "outputs": list(self.outputs),
            "structure": self.structure,
            "keys": list(self.keys),
        }


def read_graph(manifest: Manifest) -> Graph:
    """The graph that a manifest describes, checked in every field, against the manifest's parameters too.

    Raises CheckpointError, naming the first thing that is wrong.
    """
    reader = _Reader(manifest)
    try:
        return reader.graph()
    except CheckpointError as error:
        raise CheckpointError(f"the manifest's graph, {reader.place}: {error}") from None


class _Reader:
    def __init__(self, manifest: Manifest) -> None:
        self._config = manifest.config
        self._manifest = manifest
        self._used: set[str] = set()
        self.place = "its fields"

    def graph(self) -> Graph:
        raw = _fields(self._config, "inputs", "embeddings", "nodes", "outputs", "structure", "keys")
        policy, due = self._manifest.policy, FixedPointPolicy()
        bits = (policy.fraction_bits, policy.value_bits)
        require(bits == (due.fraction_bits, due.value_bits), f"functions are made for {due}, not {policy}")
        self.place = "its inputs"
        inputs = tuple(self._input(i) for i in _items(raw["inputs"], _MOST_INPUTS))
        require(len({i.name for i in inputs}) == len(inputs) > 0, "names of inputs are not distinct, or there are none")
        self.place = "its embeddings"
        integers = {i.name: i for i in inputs if i.indices}
        embeddings = tuple(self._embedding(e, integers) for e in _items(raw["embeddings"], _MOST_INPUTS))
        shapes = list(Graph(inputs, embeddings, (), (), "tensor").shapes)
        nodes = []
        for number, value in enumerate(_items(raw["nodes"], _MOST_NODES)):
            self.place = f"node {number}"
            nodes.append(self._node(value, shapes))
            shapes.append(nodes[-1].shape)
        self.place = "its outputs"
        outputs = _numbers(raw["outputs"], len(shapes))
        structure, keys = raw["structure"], tuple(_items(raw["keys"], _MOST_INPUTS))
        require(structure in get_args(Structure), f"structure is {str(structure)[:40]!r}")
        require(0 < len(outputs) <= _MOST_INPUTS, f"{len(outputs)} outputs")
        require(all(isinstance(key, str) for key in keys), "keys are no strings")
        count = len(outputs) if structure == "dict" else 0
        require(len(set(keys)) == len(keys) == count, "as many distinct keys as outputs are due for a dict, else none")
        require(structure != "tensor" or len(outputs) == 1, "a tensor is one output")
        self.place = "its parameters"
        unused = set(self._manifest.parameters) - self._used
        require(not unused, f"parameter {min(unused, default='')!r} is not used")
        return Graph(inputs, embeddings, tuple(nodes), outputs, structure, keys)

    def _input(self, value: object) -> Input:
        raw = _fields(value, "name", "shape", "indices")
        require(type(raw["indices"]) is bool, "indices is true or false")
        shape = check_size(_items(raw["shape"], 100), "an input")
        return Input(_name(raw["name"]), shape, raw["indices"])

    def _embedding(self, value: object, integers: Mapping[str, Input]) -> Embedding:
        raw = _fields(value, "input", "table", "rows", "width")
        require(isinstance(raw["input"], str) and raw["input"] in integers, "an input of indices is due")
        found = Embedding(raw["input"], _name(raw["table"]), raw["rows"], raw["width"])
        check_size((found.rows, found.width), "a table")
        shape = integers[found.input].shape
        check_size((*shape, max(found.rows, found.width)), "one-hot vectors, or the rows that they choose,")
        if self._manifest.weights != "public":  # else the table is the client's
            self._parameter(found.table, "table", (found.rows, found.width))
        return found

    def _node(self, value: object, shapes: Sequence[Shape]) -> Node:
        raw = _fields(value, "operation", "settings", "values", "parameters", "shape", "layer")
        name = raw["operation"]
        require(isinstance(name, str) and name in OPERATIONS, f"no operation is called {str(name)[:40]!r}")
        kind = OPERATIONS[name]
        operation, values = kind.from_settings(raw["settings"]), _numbers(raw["values"], len(shapes))
        due = 1 if kind.values is None else kind.values
        fits = len(values) == due or (kind.values is None and len(values) > 0)
        require(fits, f"{name} takes {due} values, not {len(values)}")
        parameters = tuple(_name(parameter) for parameter in _items(raw["parameters"], _MOST_INPUTS))
        require(len(parameters) == len(kind.kinds), f"{name} takes {len(kind.kinds)} parameters, not {len(parameters)}")
        specs = [self._parameter(*pair) for pair in zip(parameters, kind.kinds, strict=True)]
        shape = operation.shape([shapes[i] for i in values], [spec.shape for spec in specs])
        check_size(shape, name)
        require(raw["shape"] == list(shape), f"{name} gives shape {list(shape)}, the graph says {raw['shape']!r:.80}")
        return Node(operation, values, parameters, shape, _name(raw["layer"]))

    def _parameter(self, name: str, kind: str, shape: Shape | None = None) -> ParameterSpec:
        spec = self._manifest.parameters.get(name)
        require(spec is not None, f"there is no parameter {name!r}")
        assert spec is not None
        due = kind, self._manifest.policy.fraction_bits
        require(
            (spec.kind, spec.fraction_bits) == due, f"parameter {name!r} is no {kind} of the policy's fraction bits"
        )
        require(shape in (None, spec.shape), f"parameter {name!r} has shape {list(spec.shape)}, not {shape}")
        require(spec.elements <= 4 * MOST_ELEMENTS, f"parameter {name!r} has {spec.elements} elements")
        require(all(type(n) is int and n > 0 for n in spec.shape), f"parameter {name!r} has no shape")
        self._used.add(name)
        return spec


def _fields(value: object, *names: str) -> dict[str, Any]:
    require(isinstance(value, dict) and set(value) == set(names), f"fields {', '.join(names)} are due, and no others")
    assert isinstance(value, dict)
    return value


def _items(value: object, most: int) -> list[Any]:
    require(isinstance(value, list) and len(value) <= most, f"a list of at most {most} is due")
    assert isinstance(value, list)
    return value


def _numbers(value: object, below: int) -> tuple[int, ...]:
    """Numbers of values that are there already: so no graph goes in a circle."""
    items = _items(value, _MOST_NODES)
    wrong = [i for i in items if type(i) is not int or not 0 <= i < below]
    require(not wrong, f"there is no value {str(wrong[0])[:40] if wrong else ''} before it, of {below}")
    return tuple(items)


def _name(value: object) -> str:
    right = isinstance(value, str) and _NAME.fullmatch(value)
    require(bool(right), f"{str(value)[:40]!r} is no name of letters, digits, dots and underscores")
    return str(value)
