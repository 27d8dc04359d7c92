"""An exported program, operator by operator, as operations of a graph; all that is not served, with lines of code."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from secure.models.graph.builder import GraphBuilder, Indices, Value, plain_name
from secure.models.graph.operators import BATCH_NORM, OPERATORS, SOFTMAXES, THROUGH
from secure.protocols.core.errors import CheckpointError, UnsupportedOperator

TORCH = str(Path(torch.__file__).parent)
_ATTENTION = torch.ops.aten.scaled_dot_product_attention.default
_HINTS = {
    torch.ops.aten.dropout.default: "dropout in training mode; call module.eval()",
    torch.ops.aten.native_dropout.default: "dropout in training mode; call module.eval()",
    torch.ops.aten._native_batch_norm_legit.default: "batch norm in training mode; call module.eval()",
    torch.ops.aten._native_batch_norm_legit_functional.default: "batch norm in training mode; call module.eval()",
}
_TAKES_INDICES = frozenset(
    {torch.ops.aten.embedding.default, torch.ops.aten._to_copy.default, torch.ops.aten.alias.default}
    | {torch.ops.aten.clone.default, torch.ops.aten.detach.default}
)


class Tracer:
    """Goes through an exported program, operator by operator."""

    def __init__(self, program: torch.export.ExportedProgram, builder: GraphBuilder) -> None:
        self.builder = builder
        self._program = program
        self._signature = program.graph_signature
        self._found: dict[Node, Any] = {}
        self._problems: list[str] = []
        self._unknown: set[Node] = set()

    def inputs(self, examples: Sequence[Tensor]) -> dict[str, Tensor]:
        """The examples by the names of the module's arguments."""
        return dict(zip(map(str, self._signature.user_inputs), examples, strict=True))

    def trace(self, problems: Sequence[str] = ()) -> list[Value]:
        """The module's outputs. problems: what is wrong with them as it is.

        Raises CheckpointError with everything that is not served.
        """
        outputs: list[Value] = []
        for node in self._program.graph.nodes:
            self.builder.layer, self.builder.line = _layer_of(node), _line_of(node)
            if node.op == "placeholder":
                self._found[node] = self._placeholder(node)
            elif node.op == "output":
                outputs = [] if problems else self._outputs_of(node)
            else:
                self._operator(node)
        changed = [*self._signature.buffers_to_mutate.values(), *self._signature.user_inputs_to_mutate.values()]
        if changed:
            self._problems.append(
                f"the module changes {', '.join(map(str, changed[:3]))} when it is called; call module.eval(), as "
                "batch norm must use its running statistics"
            )
        if problems or self._problems:
            raise not_served([*problems, *self._problems])
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
        if not isinstance(target, torch._ops.OpOverload):
            self._unknown.add(node)  # arithmetic of shapes that depend on values: what made them so is named
        elif lower is None:
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
                raise UnsupportedOperator(
                    f"input {given[0].input.name!r} holds integers, which only embeddings may look up"
                )
            self._found[node] = lower(self.builder, *args, **kwargs)
        except CheckpointError as error:
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


def not_served(problems: Sequence[str]) -> CheckpointError:
    """All that is wrong with a module, each once."""
    return CheckpointError("this module is not served:\n" + "\n".join(f"  {each}" for each in dict.fromkeys(problems)))


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
    path, _ = _module_of(node)
    return plain_name(path) or "module"


def _module_of(node: Node) -> tuple[str, str]:
    """Path and class of the innermost submodule that a node comes from."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", "")
    return str(path), str(kind).rpartition(".")[2]


def _line_of(node: Node) -> str:
    """The line of user code that a node comes from: the innermost one that is not in torch itself, or the submodule."""
    frames = re.findall(r'File "([^"]+)", line (\d+), in [^\n]*\n\s*([^\n]*)', node.meta.get("stack_trace") or "")
    for path, line, code in reversed(frames):
        if not path.startswith(TORCH):
            return f"{path}:{line}: {code.strip()}"
    path, kind = _module_of(node)
    return f"submodule {path or 'itself'} ({kind or node.name})"
