"""Imports that wait for the first use of a module, so that `secure --help` comes at once.

A command's file declares its options with light types, and names at its top, like any other file, the modules that do
the work. Those that take long to import, as whatever needs torch or transformers does, it names in a block:

    with lazy_imports(__name__):
        from secure import api, connection

    def predict(...) -> None:
        api.PrivateModel.from_pretrained(...)       # here secure.api is imported

Each name in the block is a module: nothing else can stand there before it is imported. Types that annotate options are
looked up when a command is declared, so they come from modules outside the block.
"""

from __future__ import annotations

import builtins
import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any


@contextmanager
def lazy_imports(file: str) -> Iterator[None]:
    """Inside the block, `from package import module` in the file of that `__name__` imports nothing yet.

    The module is imported when something in it is first asked for. Other files that are imported at the same time, in
    another thread, are not affected.
    """
    eager = builtins.__import__

    def lazy(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        if globals is None or globals.get("__name__") != file:
            return eager(name, globals, locals, fromlist, level)
        if not fromlist or level:
            raise ImportError(f"{file}: lazy imports are written: from package import module")
        return SimpleNamespace(**{module: _LazyModule(f"{name}.{module}") for module in fromlist})

    builtins.__import__ = lazy
    try:
        yield
    finally:
        builtins.__import__ = eager


class _LazyModule(ModuleType):
    """Stands for a module, which it imports when it is asked for something."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)
