"""From a torch module to a graph and its parameters. This runs where the model is, and nowhere else.

torch.export takes the module apart into ATen operators. What follows from weights and constants alone is computed here,
once; the rest becomes operations of `description.OPERATIONS`. The result runs on the example in the clear, so that a
number out of range is named with its line before anybody shares anything.
"""

from __future__ import annotations

import operator
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from models.checkpoint import Checkpoint
from models.graph.builder import Builder, Indices, Value, specs_of
from models.graph.description import Structure
from models.graph.lowering import Unsupported
from models.graph.operators import BATCH_NORM, KEPT, OPERATORS, SOFTMAXES, THROUGH
from models.graph.rehearsal import rehearse
from models.manifest import GRAPH, TABLE_VALUE_BITS, Kind, Manifest, WeightVisibility
from protocols.core.errors import BoundError, CheckpointError
from protocols.core.fixedpoint import FixedPointPolicy, encode

_TORCH = str(Path(torch.__file__).parent)
_ATTENTION = torch.ops.aten.scaled_dot_product_attention.default
_HINTS = {
    torch.ops.aten.dropout.default: "dropout in training mode; call module.eval()",
    torch.ops.aten.native_dropout.default: "dropout in training mode; call module.eval()",
    torch.ops.aten._native_batch_norm_legit.default: "batch norm in training mode; call module.eval()",
    torch.ops.aten._native_batch_norm_legit_functional.default: "batch norm in training mode; call module.eval()",
}


def capture(
    module: torch.nn.Module,
    example_inputs: Tensor | Sequence[Tensor],
    *,
    weights: WeightVisibility = "private",
    policy: FixedPointPolicy | None = None,
) -> Checkpoint:
    """The module as a checkpoint, for inputs of the example's shapes.

    Args:
        example_inputs: what the module's forward takes, by position: tensors of real numbers, and integers that it
            looks up in embeddings. The values should be typical ones, as ranges are checked with them.
        weights: whether parameters and buffers are "private", or "public".

    Raises CheckpointError for a module that is not served, naming everything at once with lines of its code, and
    BoundError when a number on the way leaves the fixed-point range for the example.
    """
    policy = policy or FixedPointPolicy()
    if weights not in ("private", "public"):
        raise CheckpointError(f"weights is 'private' or 'public', not {weights!r}")
    examples = _checked_examples(example_inputs)
    _check_types(module)
    expected, structure, keys = _outputs(module, examples)
    program = _export(module, examples)
    tracer = _Tracer(program, Builder(private=weights == "private"))
    outputs = tracer.trace(module)
    graph, lines, parameters = tracer.builder.finish(outputs, structure, keys)
    rehearse(graph, lines, parameters, policy, tracer.inputs(examples), expected)
    try:
        encoded = {name: _encode(name, *stored, policy) for name, stored in parameters.items()}
    except BoundError as error:
        raise CheckpointError(str(error)) from None
    specs, tables = specs_of(parameters, policy.fraction_bits), {}
    if weights == "public":  # the client looks its rows up
        tables = {name: parameters[name][1].to(torch.float32) for name, spec in specs.items() if spec.kind == "table"}
        specs = {name: spec for name, spec in specs.items() if spec.kind != "table"}
    manifest = Manifest(GRAPH, graph.to_dict(), policy, weights, specs)
    return Checkpoint(manifest, {name: encoded[name] for name in specs}, tables)


def _encode(name: str, kind: Kind, tensor: Tensor, policy: FixedPointPolicy) -> Tensor:
    bound_bits = TABLE_VALUE_BITS if kind == "table" else policy.value_bits
    return encode(tensor, policy.fraction_bits, bound_bits=bound_bits, what=f"parameter {name!r}")


def _checked_examples(given: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    examples = (given,) if isinstance(given, Tensor) else tuple(given)
    for i, example in enumerate(examples):
        if not isinstance(example, Tensor):
            raise CheckpointError(
                f"example input {i} is a {type(example).__name__}; the module must take tensors alone"
            )
        if example.is_complex() or example.dtype == torch.bool or 0 in example.shape:
            raise CheckpointError(
                f"example input {i} has type {example.dtype} and shape {list(example.shape)}; real numbers and "
                "indices are served, and no empty tensors"
            )
    if not examples:
        raise CheckpointError("there are no example inputs: the module must take one tensor at least")
    return examples


def _check_types(module: torch.nn.Module) -> None:
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_complex() or (tensor.is_floating_point() and tensor.dtype not in (torch.float32, torch.float64)):
            raise CheckpointError(f"{name} has type {tensor.dtype}; float32 and float64 are served: module.float()")


def _outputs(module: torch.nn.Module, examples: Sequence[Tensor]) -> tuple[list[Tensor], Structure, list[str]]:
    """What the module itself returns for the example, and how it is arranged."""
    state = torch.random.get_rng_state()
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    with torch.no_grad():
        found = module(*examples)
        for name, buffer in module.named_buffers():
            buffer.copy_(buffers[name])  # batch norm in training mode, which is refused below, counts
    torch.random.set_rng_state(state)
    structure: Structure = "tensor"
    keys: list[str] = []
    tensors = [found]
    if type(found) in (tuple, list):
        structure, tensors = "tuple" if type(found) is tuple else "list", list(found)
    elif type(found) is dict and all(isinstance(key, str) for key in found):
        structure, keys, tensors = "dict", list(found), list(found.values())
    if not tensors or not all(isinstance(t, Tensor) and t.is_floating_point() for t in tensors):
        raise CheckpointError(
            f"the module returns a {type(found).__name__}; served are a tensor of real numbers, and a tuple, list or "
            "dict of them that is not nested"
        )
    wrong = [i for i, t in enumerate(tensors) if not bool(torch.isfinite(t).all())]
    if wrong:
        raise CheckpointError(f"output {wrong[0]} of the module has NaN or infinite entries for the example itself")
    return tensors, structure, keys


def _export(module: torch.nn.Module, examples: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    """In ATen operators, without what torch.export warns about its own parts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.export(module, examples)
            table = torch.export.default_decompositions()
            for kept in KEPT:
                table.pop(kept, None)
            decomposed: torch.export.ExportedProgram = program.run_decompositions(table)
            return decomposed
        except Exception as error:  # torch.export and the user's own forward may raise anything
            first = next(iter(str(error).strip().splitlines()), "")
            raise CheckpointError(
                f"torch.export cannot capture the module ({type(error).__name__}: {first[:300]}). Control flow must "
                "not depend on values, and shapes must be fixed"
            ) from error


class _Tracer:
    """Goes through an exported program, operator by operator."""

    def __init__(self, program: torch.export.ExportedProgram, builder: Builder) -> None:
        self.builder = builder
        self._program = program
        self._signature = program.graph_signature
        self._found: dict[Node, Any] = {}
        self._problems: list[str] = []
        self._unknown: set[Node] = set()

    def inputs(self, examples: Sequence[Tensor]) -> dict[str, Tensor]:
        """The examples by the names of the module's arguments."""
        return dict(zip(map(str, self._signature.user_inputs), examples, strict=True))

    def trace(self, module: torch.nn.Module) -> list[Value]:
        """The module's outputs. Raises CheckpointError with everything that is not served."""
        outputs: list[Value] = []
        for node in self._program.graph.nodes:
            self.builder.layer, self.builder.line = _layer_of(node), _line_of(node)
            if node.op == "placeholder":
                self._found[node] = self._placeholder(node)
            elif node.op == "output":
                outputs = self._outputs_of(node)
            else:
                self._operator(node)
        changed = [*self._signature.buffers_to_mutate.values(), *self._signature.user_inputs_to_mutate.values()]
        if changed:
            self._problems.append(
                f"the module changes {', '.join(map(str, changed[:3]))} when it is called; call module.eval(), as "
                "batch norm must use its running statistics"
            )
        if self._problems:
            unique = list(dict.fromkeys(self._problems))
            raise CheckpointError("this module is not served:\n" + "\n".join(f"  {problem}" for problem in unique))
        return outputs

    def _placeholder(self, node: Node) -> Any:
        name, signature = node.name, self._signature
        if name in signature.user_inputs:
            return self.builder.input(name, node.meta["val"])
        known = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        if name in known:
            tensors: Mapping[str, Any] = {**self._program.constants, **self._program.state_dict}
            return self.builder.name_tensor(tensors[known[name]].detach(), known[name])
        constant = signature.inputs_to_lifted_tensor_constants[name]
        return self.builder.name_tensor(self._program.constants[constant].detach(), f"constants.{constant}")

    def _operator(self, node: Node) -> None:
        depends = any(used in self._unknown or _has_secret(self._found.get(used)) for used in node.all_input_nodes)
        target: Any = node.target
        if target is operator.getitem:
            source, index = node.args
            assert isinstance(source, Node)
            if source in self._unknown:
                self._unknown.add(node)
            else:
                self._found[node] = self._found[source][index]
            return
        if "_assert" in str(target) and not node.users:
            return  # torch.export's own checks of shapes and types
        if not depends:
            self._fold(node)
            return
        lower = OPERATORS.get(target)
        if lower is None:
            self._problem(node, _HINTS.get(target) or "no such operator is served")
        elif any(used in self._unknown for used in node.all_input_nodes):
            self._unknown.add(node)
        else:
            self._lower(node, lower)

    def _fold(self, node: Node) -> None:
        """What depends on no input is computed now."""
        target: Any = node.target
        if torch.Tag.nondeterministic_seeded in getattr(target, "tags", ()):
            self._problem(node, "random numbers")
            return
        if any(used in self._unknown for used in node.all_input_nodes):
            self._unknown.add(node)
            return
        args, kwargs = self._arguments(node)
        with torch.no_grad():
            found = target(*args, **kwargs)
        self._found[node] = found

    def _lower(self, node: Node, lower: Any) -> None:
        args, kwargs = self._arguments(node)
        if node.target is BATCH_NORM:
            source = node.args[0]
            assert isinstance(source, Node)
            kwargs["fold"] = len(source.users) == 1
        self.builder.for_softmax = node.target is _ATTENTION or _only_for_softmax(node)
        given = list(_indices([*args, *kwargs.values()]))
        try:
            if given and node.target not in _TAKES_INDICES:
                raise Unsupported(f"input {given[0].input.name!r} holds integers, which only embeddings may look up")
            self._found[node] = lower(self.builder, *args, **kwargs)
        except (Unsupported, CheckpointError) as error:
            self._problem(node, str(error))

    def _arguments(self, node: Node) -> tuple[list[Any], dict[str, Any]]:
        args = map_arg(node.args, self._found.__getitem__)
        kwargs = map_arg(node.kwargs, self._found.__getitem__)
        return list(args), dict(kwargs)

    def _problem(self, node: Node, problem: str) -> None:
        self._unknown.add(node)
        self._problems.append(f"{self.builder.line}: {node.target}: {problem}")

    def _outputs_of(self, node: Node) -> list[Value]:
        (returned,) = node.args
        assert isinstance(returned, tuple)
        outputs = []
        for i, given in enumerate(returned[len(self._signature.buffers_to_mutate) :]):
            if given in self._unknown:
                continue
            found = self._found[given] if isinstance(given, Node) else given
            if isinstance(found, Value):
                outputs.append(found)
            else:
                self._problems.append(f"output {i} does not depend on real inputs: it would hand out weights")
        return outputs


_TAKES_INDICES = frozenset(
    {torch.ops.aten.embedding.default, torch.ops.aten._to_copy.default, torch.ops.aten.alias.default}
    | {torch.ops.aten.clone.default, torch.ops.aten.detach.default}
)


def _indices(arguments: Sequence[Any]) -> Iterator[Indices]:
    for value in arguments:
        if isinstance(value, Indices):
            yield value
        elif isinstance(value, tuple | list):
            yield from _indices(value)


def _has_secret(found: Any) -> bool:
    if isinstance(found, tuple | list):
        return any(map(_has_secret, found))
    return isinstance(found, Value | Indices)


def _only_for_softmax(node: Node) -> bool:
    """Whether all that reads the node's value is a softmax, or hands it on to one."""
    return bool(node.users) and all(
        user.target in SOFTMAXES or (user.target in THROUGH and _only_for_softmax(user)) for user in node.users
    )


def _layer_of(node: Node) -> str:
    """The submodule that a node comes from, as a report calls it."""
    stack = node.meta.get("nn_module_stack") or {}
    path = next(reversed([str(path) for path, _ in stack.values()]), "") if stack else ""
    name = re.sub(r"[^A-Za-z0-9_.]", "_", path).strip(".")[:150]
    return name or "module"


def _line_of(node: Node) -> str:
    """The line of user code that a node comes from: the innermost one that is not in torch itself."""
    frames = re.findall(r'File "([^"]+)", line (\d+), in [^\n]*\n\s*([^\n]*)', node.meta.get("stack_trace") or "")
    for path, line, code in reversed(frames):
        if not path.startswith(_TORCH):
            return f"{path}:{line}: {code.strip()}"
    return f"(no line known, {node.name})"
