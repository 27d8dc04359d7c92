"""Our packages have plain names. Makes sure that `models`, `parties` and `protocols` are the ones next to this one."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SIBLINGS = ("models", "parties", "protocols")
HOME = Path(__file__).resolve().parent.parent


def check(home: Path = HOME) -> None:
    """Raises ImportError, naming both paths, when Python would import another folder or file under one of our names."""
    for name in SIBLINGS:
        ours, found = home / name, find(name)
        if found is None:
            raise ImportError(f"secure needs its package {name!r}, which belongs in {ours} and is not installed")
        if found != ours:
            raise ImportError(
                f"secure needs its own package {name!r} in {ours}, but Python finds {found} first; "
                f"rename that one, or start Python from another folder"
            )


def find(name: str) -> Path | None:
    """The folder or file that `import name` would take, without importing it."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # something without a specification is registered under this name
        return Path("(a module made at run time)")
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or [])
    # An ordinary package has one folder; a namespace package may have several and is never ours.
    where = folders[0] if folders else spec.origin
    return Path(where).resolve() if where else None
