"""python -m tests.gpu.compile_loops: compile every loop for a card that is not there, as each gate would call it.

Triton needs a card to run a loop, and none to compile it. Prints what was compiled, a line each.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import threading
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from secure.protocols.core import factor
from secure.protocols.core.kernels import card, dispatch, selection
from secure.protocols.core.kernels.card import compiler
from tests.gpu.gates import CASES, run_gate

MODULES = [importlib.import_module(f"{card.__name__}.{module.name}") for module in pkgutil.iter_modules(card.__path__)]
COMPUTE_CAPABILITY = 80
_TYPES = {torch.int64: "*i64", torch.int32: "*i32", torch.uint8: "*u8", torch.int8: "*i8"}


class Compiling:
    """In place of `compiler.start`: results stay as they are, whatever was in their memory."""

    def __init__(self) -> None:
        self.compiled: set[str] = set()
        self._seen: set[object] = set()
        self._lock = threading.Lock()  # three roles call

    def __call__(
        self, kernel: Any, grid: tuple[int, ...], arguments: tuple[Tensor | int, ...], constants: dict[str, int]
    ) -> None:
        signature = {name: _type(value) for name, value in zip(kernel.arg_names, arguments, strict=False)}
        signature |= dict.fromkeys(constants, "constexpr")
        with self._lock:
            key = kernel.__name__, tuple(signature.items()), tuple(constants.items())
            if key not in self._seen:
                self._seen.add(key)
                _compile(kernel, signature, constants)
                self.compiled.add(_name(kernel))


def _type(value: Tensor | int) -> str:
    if isinstance(value, Tensor):
        return _TYPES[value.dtype]
    return "i32" if -(1 << 31) <= value < 1 << 31 else "i64"


def _compile(kernel: Any, signature: dict[str, str], constants: dict[str, int]) -> None:
    ordered = {name: signature[name] for name in kernel.arg_names}
    source = ASTSource(fn=kernel, signature=ordered, constexprs=constants)
    triton.compile(source, target=GPUTarget("cuda", COMPUTE_CAPABILITY, 32))


def main() -> int:
    """Fails where a loop does not compile, or where no gate calls it."""
    compiling = Compiling()
    compiler.start = compiling
    dispatch.form_for = lambda device: "card"  # type: ignore[assignment]
    factor.multiplies_bytes = lambda device: True  # type: ignore[assignment]
    cpu = torch.device("cpu")
    for case in CASES:
        gate, label, shapes = case.values
        run_gate(gate, label, shapes, cpu)
    words = torch.zeros(1001, dtype=torch.int64)
    selection.select(torch.zeros(1001, dtype=torch.uint8), words, words)
    due = {_name(value) for module in MODULES for value in vars(module).values() if _is_kernel(value)}
    due -= {_name(compiler._copied)}  # which tries Triton itself
    print("\n".join(sorted(compiling.compiled)))
    print("not called:", due - compiling.compiled, file=sys.stderr)
    return 0 if due == compiling.compiled else 1


def _name(kernel: Any) -> str:
    return f"{kernel.__module__}.{kernel.__name__}"


def _is_kernel(value: Any) -> bool:
    """A loop that is launched takes the size of its block, and where to write."""
    return "block" in getattr(value, "arg_names", ()) and len(value.arg_names) > 2


if __name__ == "__main__":
    sys.exit(main())
