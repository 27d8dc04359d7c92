"""One dispatcher for every local step: a function over tensors, computed by the loop for their device where it has one.

A step is declared once, by `step` on its plain torch form, which says what is computed and serves on every device. A
module of `kernels.cpu` gives it a loop for the CPU, by `on_cpu`; one of `kernels.card` a loop for graphics cards, by
`on_card`. They are named as the module that declares the step. All forms have one signature and agree bit for bit:
tests/protocols/core/kernels/test_steps.py compares every one of them with the plain form.

Loops and their compilers are imported when the first step computes on their device. So Triton, which takes 70 MB, is
loaded where a card computes and nowhere else. Whoever computes little, as a client does that shares its input, works in
`with_what_is_loaded`: no compiler is imported for that.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import Any, Generic, Literal, ParamSpec, TypeVar

import torch
from torch import Tensor

Form = Literal["plain", "cpu", "card"]
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_CPU = torch.device("cpu")
_LOADED_ALONE: ContextVar[bool] = ContextVar("loaded alone", default=False)
# By type of device: the form of steps that is meant for it, what compiles that, and the package where it is.
_LOOPS: dict[str, tuple[Form, str, str]] = {
    "cpu": ("cpu", "numba", "secure.protocols.core.kernels.cpu"),
    "cuda": ("card", "triton", "secure.protocols.core.kernels.card"),
}


@functools.cache
def form_for(device: torch.device) -> Form:
    """Which form of steps computes on a device, found out once: its loops where this machine can compile them."""
    if device.type not in _LOOPS:
        return "plain"
    form, compiler, package = _LOOPS[device.type]
    try:
        import_module(compiler)
    except ImportError:  # missing, or not made for this numpy; PyTorch for CPUs comes without Triton
        return "plain"
    return form if import_module(package).runs(device) else "plain"


@contextmanager
def with_what_is_loaded() -> Iterator[None]:
    """Inside the block, and its thread, a step takes its plain form where the compiler of its loops is not imported."""
    before = _LOADED_ALONE.set(True)
    try:
        yield
    finally:
        _LOADED_ALONE.reset(before)


def _form_now(device: torch.device) -> Form:
    if _LOADED_ALONE.get() and device.type in _LOOPS and _LOOPS[device.type][1] not in sys.modules:
        return "plain"
    return form_for(device)


class Step(Generic[Arguments, Result]):
    """A function in up to three forms, of which the device of its first tensor, or named device, chooses one."""

    def __init__(self, plain: Callable[Arguments, Result]) -> None:
        self.plain = plain
        self.forms: dict[Form, Callable[Arguments, Result]] = {"plain": plain}
        functools.update_wrapper(self, plain)

    def __call__(self, *arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        first = arguments[0] if arguments else None  # nearly always a tensor, so that this takes no time
        device = first.device if isinstance(first, Tensor) else _device_of((*arguments, *options.values()))
        return self.forms.get(_form_now(device), self.plain)(*arguments, **options)

    def on_cpu(self, form: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        """A decorator: the form for the CPU."""
        self.forms["cpu"] = form
        return form

    def on_card(self, form: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        """A decorator: the form for graphics cards."""
        self.forms["card"] = form
        return form


STEPS: list[Step[..., Any]] = []
"""Every step whose module was imported."""


def step(plain: Callable[Arguments, Result]) -> Step[Arguments, Result]:
    """A decorator: declares a step by its plain torch form."""
    declared = Step(plain)
    STEPS.append(declared)
    return declared


def _device_of(arguments: Iterable[object]) -> torch.device:
    """The device of the first tensor, or the first device itself; the CPU where there is neither."""
    for argument in arguments:
        if isinstance(argument, Tensor):
            return argument.device
        if isinstance(argument, torch.device):
            return argument
    return _CPU
