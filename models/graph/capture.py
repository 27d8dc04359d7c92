"""From a torch module to a graph and its parameters. This runs where the model is, and nowhere else.

torch.export takes the module apart into ATen operators. What follows from weights and constants alone is computed here,
once; the rest becomes operations of `description.OPERATIONS`. The result runs on the example in the clear, so that a
number out of range is named with its line before anybody shares anything.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from secure.models.checkpoint.conversion import Checkpoint
from secure.models.contract.manifest import GRAPH, TABLE_VALUE_BITS, Kind, Manifest, WeightVisibility
from secure.models.graph.builder import GraphBuilder, specs_of
from secure.models.graph.description import Structure
from secure.models.graph.operators import KEPT
from secure.models.graph.rehearsal import rehearse
from secure.models.graph.tracer import Tracer
from secure.protocols.core.errors import BoundError, CheckpointError
from secure.protocols.core.fixedpoint import FixedPointPolicy, encode


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
    tracer = Tracer(program, GraphBuilder(private=weights == "private"))
    outputs = tracer.trace()
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
    """The module in ATen operators, without what torch.export warns about its own parts."""
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
