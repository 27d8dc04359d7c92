"""Every compiled form of every local step against its plain torch form, bit for bit.

The table of steps is the dispatcher's own: a step with a loop that `calls` does not call fails. On a machine without a
card its loops are interpreted, which takes long: the default run tries a sample of their calls.
"""

from __future__ import annotations

import importlib
import pkgutil
import random
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from secure import protocols
from secure.protocols.core.kernels.dispatch import STEPS, Form, Step
from tests.protocols.core.kernels.calls import CALLS, CPU, Call

CARD = torch.device("cuda", 0) if torch.cuda.is_available() else CPU
SAMPLE = 4
"""Interpreted calls of a step in the default run."""


def import_everything() -> None:
    """Every module that may declare a step or give it a loop, other than for a compiler that is not installed."""
    for module in pkgutil.walk_packages(protocols.__path__, f"{protocols.__name__}."):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name not in ("numba", "triton"):
                raise


import_everything()
NAMES = {step: f"{step.__module__.rpartition('.')[2]}.{step.__name__}" for step in STEPS}
ON_CPU, ON_CARD = (
    [pytest.param(step, id=NAMES[step]) for step in STEPS if form in step.forms] for form in ("cpu", "card")
)


@pytest.mark.parametrize("step", ON_CPU)
def test_a_loop_for_the_cpu_gives_the_bits_of_the_plain_form(step: Step[..., Any]) -> None:
    compare(step, "cpu", CPU, zip(calls_of(step), calls_of(step), strict=True))


@pytest.mark.parametrize("step", ON_CARD)
def test_a_loop_for_cards_gives_the_bits_of_the_plain_form(step: Step[..., Any]) -> None:
    calls = zip(calls_of(step), calls_of(step), strict=True)
    if CARD == CPU:
        quick = [pair for pair in calls if pair[0].quick]
        calls = iter(random.Random(NAMES[step]).sample(quick, min(SAMPLE, len(quick))))
    compare(step, "card", CARD, calls)


@pytest.mark.slow
@pytest.mark.skipif(CARD != CPU, reason="the card itself was tried on all calls")
@pytest.mark.parametrize("step", ON_CARD)
def test_an_interpreted_loop_gives_the_bits_of_the_plain_form_on_every_call(step: Step[..., Any]) -> None:
    calls = zip(calls_of(step), calls_of(step), strict=True)
    compare(step, "card", CPU, (pair for pair in calls if pair[0].quick))


def calls_of(step: Step[..., Any]) -> Iterator[Call]:
    """The step's calls; none is no answer."""
    assert step in CALLS, f"add calls of {NAMES[step]} to tests/protocols/core/kernels/calls.py"
    return CALLS[step]()


def compare(step: Step[..., Any], form: Form, device: torch.device, calls: Iterable[tuple[Call, Call]]) -> None:
    """The form on a device against the plain form on the CPU, on two copies of each call."""
    for due, found in calls:
        arguments = moved(found.arguments, device)
        expected = due.agrees(step.plain(*due.arguments, **due.options))
        result = found.agrees(step.forms[form](*arguments, **found.options))
        told = [tuple(x.shape) if isinstance(x, Tensor) else x for x in due.arguments], due.options
        assert same(result, expected), told
        if expected is None:
            assert same(arguments, due.arguments), told


def test_every_call_is_of_a_step_with_a_loop() -> None:
    pytest.importorskip("numba")
    pytest.importorskip("triton")
    assert set(CALLS) <= {step for step in STEPS if len(step.forms) > 1}


def test_loops_are_in_the_module_that_is_named_as_their_steps() -> None:
    for step in STEPS:
        for form in set(step.forms) - {"plain"}:
            assert step.forms[form].__name__ == step.__name__
            place = f"secure.protocols.core.kernels.{form}.{step.__module__.rpartition('.')[2]}"
            assert step.forms[form].__module__ == place


def moved(value: Any, device: torch.device) -> Any:
    """Arguments on a device: tensors, devices, and lists and tuples of them."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, torch.device):
        return device
    if type(value) in (list, tuple):
        return type(value)(moved(part, device) for part in value)
    return value


def same(found: Any, due: Any) -> bool:
    """Whether tensors, and tuples of them, agree in shape, type and every bit; other arguments were not changed."""
    if isinstance(due, Tensor):
        return found.dtype == due.dtype and torch.equal(found.cpu(), due)
    if type(due) in (list, tuple):
        return len(found) == len(due) and all(same(*pair) for pair in zip(found, due, strict=True))
    return isinstance(due, torch.device) or bool(found == due)
