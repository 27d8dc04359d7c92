"""From a torch module to a graph and its parameters. This runs where the model is, and nowhere else.

torch.export takes the module apart into ATen operators. What follows from weights and constants alone is computed here,
once; the rest becomes operations of `description.OPERATIONS`. The result runs on the example in the clear, so that a
number out of range is named with its line before anybody shares anything.
"""

from __future__ import annotations

import contextlib
import io
import logging
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from secure.models.checkpoint.conversion import Checkpoint
from secure.models.contract.manifest import GRAPH, TABLE_VALUE_BITS, Kind, Manifest, WeightVisibility
from secure.models.graph.builder import GraphBuilder, specs_of
from secure.models.graph.description import Structure
from secure.models.graph.operators import KEPT
from secure.models.graph.rehearsal import rehearse
from secure.models.graph.tracer import TORCH, Tracer, not_served
from secure.protocols.core.errors import BoundError, CheckpointError
from secure.protocols.core.fixedpoint import FixedPointPolicy, encode


def capture(
    module: torch.nn.Module,
    example_inputs: Tensor | Sequence[Tensor],
    *,
    weights: WeightVisibility = "private",
    policy: FixedPointPolicy | None = None,
    in_range: bool = True,
) -> Checkpoint:
    """The module as a checkpoint, for inputs of the example's shapes.

    Args:
        example_inputs: what the module's forward takes, by position: tensors of real numbers, and integers that it
            looks up in embeddings. The values should be typical ones, as ranges are checked with them.
        weights: whether parameters and buffers are "private", "public", or known to P1 alone, the "server".
        in_range: whether a number that leaves the range for the example is an error.

    Raises CheckpointError for a module that is not served, naming everything at once with lines of its code, and
    BoundError when a number on the way leaves the fixed-point range for the example.
    """
    policy = policy or FixedPointPolicy()
    if weights not in ("private", "public", "server"):
        raise CheckpointError(f"weights is 'private', 'public' or 'server', not {weights!r}")
    examples = _checked_examples(example_inputs)
    _check_types(module)
    expected = _expected(module, examples)
    program = _export(module, examples, expected.problems)
    tracer = Tracer(program, GraphBuilder(private=weights != "public"))
    outputs = tracer.trace(expected.problems)
    graph, lines, parameters = tracer.builder.finish(outputs, expected.structure, expected.keys)
    rehearse(graph, lines, parameters, policy, tracer.inputs(examples), expected.tensors, in_range=in_range)
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


@dataclass(frozen=True)
class _Expected:
    """What the module itself returns for the example, how that is arranged, and why it is not served, if so."""

    tensors: Sequence[Tensor]
    structure: Structure
    keys: Sequence[str]
    problems: Sequence[str]


def _expected(module: torch.nn.Module, examples: Sequence[Tensor]) -> _Expected:
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
    problems = []
    if not tensors or not all(isinstance(t, Tensor) and t.is_floating_point() for t in tensors):
        problems.append(
            f"the module returns a {type(found).__name__}; served are a tensor of real numbers, and a tuple, list or "
            "dict of them that is not nested"
        )
    elif wrong := [i for i, t in enumerate(tensors) if not bool(torch.isfinite(t).all())]:
        problems.append(f"output {wrong[0]} of the module has NaN or infinite entries for the example itself")
    return _Expected(tensors, structure, keys, problems)


def _export(
    module: torch.nn.Module, examples: tuple[Tensor, ...], problems: Sequence[str]
) -> torch.export.ExportedProgram:
    """The module in ATen operators. problems: what is wrong with it anyway."""
    with _without_words_of_torch():
        try:
            program = torch.export.export(module, examples)
            table = torch.export.default_decompositions()
            for kept in KEPT:
                table.pop(kept, None)
            decomposed: torch.export.ExportedProgram = program.run_decompositions(table)
            return decomposed
        except GuardOnDataDependentSymNode as error:
            found = (
                f"{_line_of(error)}: control flow, a shape or a Python number depends on what the tensors hold, which "
                "no party knows; compute on tensors alone, such as mask * x + (1 - mask) * y in place of a branch"
            )
        except Exception as error:  # torch.export and the user's own forward may raise anything
            first = next(iter(str(error).strip().splitlines()), "")
            found = f"torch.export cannot capture the module ({type(error).__name__}: {first[:300]})"
    raise not_served([*problems, found])


@contextlib.contextmanager
def _without_words_of_torch() -> Iterator[None]:
    """Neither what torch.export warns about its own parts, nor pages about what it cannot capture: we say that."""
    logger = logging.getLogger(GuardOnDataDependentSymNode.__module__)
    before = logger.disabled
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        logger.disabled = True
        try:
            yield
        finally:
            logger.disabled = before


def _line_of(error: Exception) -> str:
    """The innermost line of user code that an error went through."""
    library = Path(contextlib.__file__).parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(TORCH) and Path(frame.filename).parent != library:
            return f"{frame.filename}:{frame.lineno}: {frame.line}"
    raise AssertionError("every error here went through this file")
