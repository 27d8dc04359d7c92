"""Does a model stay in the range of secure arithmetic on some inputs? Its owner asks, before anything is shared."""

from __future__ import annotations

from pathlib import Path

import torch

from secure.arrays import Array, as_tensor, as_tensor_or_none
from secure.models.checking import check_ranges
from secure.models.checkpoint.conversion import read_checkpoint
from secure.models.contract.network import Inputs
from secure.models.contract.rehearsal import RangeCheck
from secure.models.graph.capture import capture
from secure.protocols.core.errors import InputError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.split import check_folder


def check(
    model: Path | str | torch.nn.Module,
    *inputs: Array,
    head: bool = True,
    policy: FixedPointPolicy | None = None,
    stream_exponent: int | None = None,
    **named: Array,
) -> RangeCheck:
    """Run a model on inputs in the clear, here, and say which layer and value leave the range of secure arithmetic.

        print(secure.check("path/to/checkpoint", input_ids=ids))
        print(secure.check(module, x))

    Args:
        model: a checkpoint folder, or a torch module in eval mode.
        inputs: of a module, what its forward takes, by position.
        named: of a checkpoint, what the model is called with: input_ids, attention_mask, token_type_ids, pixel_values.
        head, policy, stream_exponent: of a checkpoint, as for `PrivateModel.from_pretrained`.

    Returns what was found: it prints itself, and `.fine` says whether all is well.
    Raises CheckpointError for a model that is not served, and InputError for inputs that it does not take.
    """
    if isinstance(model, torch.nn.Module):
        if named or not inputs:
            raise InputError("a module's inputs are given by position, as its forward takes them")
        examples = [as_tensor(f"input {i}", value) for i, value in enumerate(inputs)]
        checkpoint = capture(model, examples, in_range=False)
        names = [given["name"] for given in checkpoint.manifest.config["inputs"]]
        return check_ranges(checkpoint, dict(zip(names, examples, strict=True)))
    if inputs:
        raise InputError("a checkpoint's inputs are given by name: input_ids=..., or pixel_values=...")
    check_folder(Path(model), "a checkpoint")
    checkpoint = read_checkpoint(model, head=head, policy=policy, stream_exponent=stream_exponent)
    return check_ranges(checkpoint, named_inputs(**named))


def named_inputs(**named: Array | None) -> Inputs:
    """Inputs of a transformer by transformers' names, those that are missing too. Raises InputError for others."""
    due = ("input_ids", "attention_mask", "token_type_ids", "pixel_values")
    unknown = sorted(set(named) - set(due))
    if unknown:
        raise InputError(f"no input is called {unknown[0]!r}; known: {', '.join(due)}")
    return {name: as_tensor_or_none(name, named.get(name)) for name in due}
