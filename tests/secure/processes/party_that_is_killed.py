"""A party as `python -m secure.parties` runs it, which kills itself at the point that a file beside its stock names."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from secure.parties.process.main import main
from secure.parties.process.model_engine import model_engine
from secure.parties.roles.store import ModelStore
from secure.parties.settings_file import load_settings
from secure.parties.stock import sealed
from secure.parties.stock.sealed_models import SealedModels

POINTS = ("recording", "before the name", "after the name", "before its users")


def killed(where: str, method: Callable[..., Any], marker: Path) -> Callable[..., Any]:
    """The method, which is not reached where the marker names that point."""

    def called(*arguments: Any, **keywords: Any) -> Any:
        if marker.exists() and marker.read_text() == where:
            marker.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return method(*arguments, **keywords)

    return called


if __name__ == "__main__":
    stock = load_settings(Path(sys.argv[sys.argv.index("--config") + 1])).stock
    assert stock is not None
    marker = stock.dir / f"{sys.argv[1]}.kill"
    writer = sealed.SealedWriter
    first, commit = writer.write, writer.commit

    def write(self: sealed.SealedWriter, message: bytes) -> None:
        if len(message) > 1000 and "model" in str(self._path.parent):
            killed("recording", first, marker)(self, message)
        else:
            first(self, message)

    setattr(writer, "write", write)  # noqa: B010
    setattr(sealed, "sync_folder", killed("after the name", sealed.sync_folder, marker))  # noqa: B010
    setattr(sealed.os, "fsync", killed("before the name", os.fsync, marker))  # noqa: B010
    setattr(SealedModels, "write_users", killed("before its users", SealedModels.write_users, marker))  # noqa: B010
    assert ModelStore
    sys.exit(main(sys.argv[1:], model_engine))
