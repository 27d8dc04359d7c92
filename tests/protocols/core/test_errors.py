"""The tree of errors: the docstring draws what the classes are."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest

from secure.protocols.core import errors
from tests.checkout import ROOT

ROOMS = ("protocols", "models", "parties")


def drawn_tree() -> dict[str, str | None]:
    """Parent of every class, read from the drawing: its depth is the column of its name."""
    assert errors.__doc__ is not None
    path: list[tuple[int, str]] = []
    parents: dict[str, str | None] = {}
    for line in errors.__doc__.splitlines():
        found = re.match(r"^    ([│├└─ ]*)([A-Z]\w+)(?:\s{2,}|$)", line)
        if found is None:
            continue
        depth, name = len(found[1]), found[2]
        path = [step for step in path if step[0] < depth]
        parents[name] = path[-1][1] if path else None
        path.append((depth, name))
    return parents


def real_tree() -> dict[str, str | None]:
    """Parent of every exception class that any module of ours defines."""
    classes = {
        value
        for name in modules()
        for value in vars(importlib.import_module(name)).values()
        if inspect.isclass(value) and issubclass(value, BaseException) and value.__module__.startswith("secure.")
    }
    return {c.__name__: next((b.__name__ for b in c.__bases__ if b in classes), None) for c in classes}


def modules() -> list[str]:
    """Names of all our modules but the loops for cards, which are imported where there is a card."""
    files = [*(ROOT / "secure").rglob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
    names = [("secure", *path.relative_to(ROOT).with_suffix("").parts) for path in files if "card" not in path.parts]
    return [".".join(parts[1:] if parts[1] == "secure" else parts).removesuffix(".__init__") for parts in names]


def test_docstring_draws_every_exception_class_of_ours() -> None:
    """What stays inside a module, such as the way out of work that is given up, nobody else can catch."""
    assert drawn_tree() == {name: parent for name, parent in real_tree().items() if not name.startswith("_")}
    assert len(real_tree()) > 12


def test_every_error_has_the_one_root() -> None:
    assert [name for name, parent in real_tree().items() if parent is None] == ["SecureInferenceError"]


def test_input_error_is_a_value_error() -> None:
    assert issubclass(errors.InputError, ValueError)


@pytest.mark.parametrize(
    ("error", "parts", "attributes"),
    [
        (
            errors.HandshakeError("model digest", "ab", "cd", "p0"),
            ["p0", "model digest", "'ab'", "'cd'"],
            {"field": "model digest"},
        ),
        (
            errors.PartyUnreachable("dealer", "host:7", 2.5),
            ["dealer", "host:7", "2.5 s", "secure doctor"],
            {"role": "dealer"},
        ),
        (errors.PartyLost("p1", "gelu", "closed"), ["p1", "gelu", "closed"], {"role": "p1", "step": "gelu"}),
        (errors.PartyLost("p1", "gelu"), ["p1", "gelu"], {"role": "p1", "step": "gelu"}),
    ],
)
def test_messages_say_what_and_where(error: errors.SessionError, parts: list[str], attributes: dict[str, str]) -> None:
    assert all(part in str(error) for part in parts)
    assert {name: vars(error)[name] for name in attributes} == attributes
