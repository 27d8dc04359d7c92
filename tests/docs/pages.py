"""The project's documents as tests read them: their blocks of code, commands and links."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.checkout import ROOT

DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("bench/*.md"))
)
"""Every page that users or contributors read, by its path from the repository's folder."""


def read(name: str) -> str:
    """The text of a file of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def makefile_targets() -> set[str]:
    """What `make` can be asked for."""
    return set(re.findall(r"^([a-z-]+):(?!=)", read("Makefile"), re.MULTILINE))


@dataclass(frozen=True)
class Block:
    """One fenced block. language and file: what stands after the fence; file is the one that an excerpt is from."""

    document: str
    line: int
    language: str
    file: str
    code: str

    @property
    def where(self) -> str:
        """The block's place, for messages."""
        return f"{self.document}:{self.line}"


def blocks(document: str, language: str) -> list[Block]:
    """The fenced blocks of one language, without their indentation as items of a list."""
    text = read(document)
    found = re.finditer(
        r"^(?P<indent> *)```(?P<language>\w+)(?: (?P<file>\S+))?\n(?P<code>.*?)^ *```$", text, re.MULTILINE | re.DOTALL
    )
    return [
        Block(
            document,
            text.count("\n", 0, match.start()) + 1,
            match["language"],
            match["file"] or "",
            re.sub(rf"^{match['indent']}", "", match["code"], flags=re.MULTILINE),
        )
        for match in found
        if match["language"] == language
    ]


def prose(document: str) -> str:
    """The text without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", read(document), flags=re.MULTILINE | re.DOTALL)


def shell_commands(document: str) -> Iterator[list[str]]:
    """The words of each command in a document's shell blocks, without comments."""
    for block in blocks(document, "sh"):
        for line in block.code.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


def inline_commands(document: str, *programs: str) -> Iterator[list[str]]:
    """The words of each command of these programs that stands in `inline code`."""
    for code in re.findall(r"`([^`\n]+)`", prose(document)):
        if code.startswith(tuple(f"{program} " for program in programs)) and "…" not in code:
            yield shlex.split(code)


def links(document: str) -> list[str]:
    """The targets of a document's links and images that are not addresses of other sites."""
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(document)))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(path: Path) -> set[str]:
    """The names that a page's headings have in links, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(path.relative_to(ROOT).as_posix()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
