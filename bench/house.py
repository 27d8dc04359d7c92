"""Counts of the project's structure, from its own source: how large rooms, files and classes are, what families share,
which words stand for two things. `tests/bench/test_house.py` holds the ones that have a limit.
"""

from __future__ import annotations

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("protocols", "models", "parties", "secure")
FAMILIES = ("beaver", "replicated", "witnessed", "hybrid")
_GENERATED = re.compile(r"_pb2\.pyi?$")
_COMMENT = re.compile(r"^(?! *#).*\n *# (.*)", re.MULTILINE)
"""The first line of a comment that has lines of its own."""
_BARE = re.compile(r"(Of|For|As|In|The same)\b")


@dataclass(frozen=True)
class Count:
    """One count, where its largest or only places are, and the most that is allowed; None where there is no limit."""

    what: str
    value: int
    where: str
    most: int | None = None


@dataclass(frozen=True)
class Source:
    """One file of the project, read and parsed."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    def classes(self) -> Iterator[ast.ClassDef]:
        return (node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef))

    def imported(self) -> Iterator[str]:
        """Dotted names of modules, and of what is imported from them."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    def texts(self) -> Iterator[str]:
        """Docstrings of the module, its classes and functions, those that follow a constant, and comments."""
        for node in ast.walk(self.tree):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                yield node.value.value
        yield from _COMMENT.findall(self.text)


def read(root: Path) -> list[Source]:
    """Every file of the four folders but what protoc wrote."""
    paths = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))]
    found = ((path.relative_to(root), path.read_text(encoding="utf-8")) for path in paths)
    return [Source(path, text, ast.parse(text)) for path, text in found if not _GENERATED.search(path.name)]


def methods(node: ast.ClassDef) -> list[str]:
    """Names of the functions that a class defines."""
    return [item.name for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]


def counts(root: Path = ROOT) -> list[Count]:
    """Every count of the source below a root."""
    sources = read(root)
    return [
        _largest("files in the largest folder", Counter(source.path.parent.as_posix() for source in sources), 19),
        _largest("lines of the largest file", {source.path.as_posix(): source.lines for source in sources}, 350),
        _largest("methods of the largest class", _class_sizes(sources), 20),
        _shared(sources),
        _between_families(sources),
        _circles(sources),
        _ambiguous(sources),
        _bare(sources),
        Count("bytes of README.md", (root / "README.md").stat().st_size, "", 8192),
    ]


def _largest(what: str, sizes: dict[str, int], most: int) -> Count:
    name, value = max(sizes.items(), key=lambda item: item[1])
    return Count(what, value, name, most)


def _class_sizes(sources: list[Source]) -> dict[str, int]:
    return {f"{source.path}:{node.name}": len(methods(node)) for source in sources for node in source.classes()}


def _shared(sources: list[Source]) -> Count:
    """Public method names that the largest class of each family defines."""
    names = []
    for family in FAMILIES:
        nodes = [
            node for source in sources if source.path.parts[:2] == ("protocols", family) for node in source.classes()
        ]
        largest = max(nodes, key=lambda node: len(methods(node)))
        names.append({name for name in methods(largest) if not name.startswith("__")})
    both = set.intersection(*names)
    return Count("method names in both families", len(both), ", ".join(sorted(both)), 15)


def _between_families(sources: list[Source]) -> Count:
    found = [
        source.path.as_posix()
        for source in sources
        for own, other in permutations(FAMILIES, 2)
        if source.path.parts[:2] == ("protocols", own)
        and any(f"protocols.{other}." in f"{name}." for name in source.imported())
    ]
    return Count("files that import a sibling family", len(set(found)), ", ".join(sorted(set(found))), 0)


def _circles(sources: list[Source]) -> Count:
    """Pairs of rooms, which are folders two deep, that import each other."""
    rooms = {".".join(source.path.with_suffix("").parts): _room(source.path) for source in sources}
    arrows = set()
    for source in sources:
        for name in source.imported():
            inner = name.removeprefix("secure.") if name.removeprefix("secure.").split(".")[0] in FOLDERS else name
            target = rooms.get(inner) or rooms.get(inner.rpartition(".")[0])
            if target is not None and target != _room(source.path):
                arrows.add((_room(source.path), target))
    found = sorted(f"{one} and {other}" for one, other in arrows if one < other and (other, one) in arrows)
    return Count("rooms that import each other", len(found), ", ".join(found), 0)


def _room(path: Path) -> str:
    return "/".join(path.parts[:2]).removesuffix(".py")


def _ambiguous(sources: list[Source]) -> Count:
    homes = defaultdict(set)
    for source in sources:
        for node in source.classes():
            homes[node.name].add(source.path)
    found = sorted(name for name, paths in homes.items() if len(paths) > 1)
    return Count("class names with two meanings", len(found), ", ".join(found), 8)


def _bare(sources: list[Source]) -> Count:
    found = Counter(source.path.as_posix() for source in sources for text in source.texts() if _BARE.match(text))
    return Count("docstrings that begin without a subject", found.total(), ", ".join(sorted(found)), 0)
