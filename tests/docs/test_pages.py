"""What documents say is so: commands exist, settings are accepted, links lead somewhere, excerpts are the code."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import typer.main

import bench.__main__
import secure
import secure.cli.main
from secure.parties.settings_file import parse_settings
from tests.checkout import ROOT
from tests.docs.pages import DOCUMENTS, anchors, blocks, inline_commands, links, makefile_targets, read, shell_commands

README_BYTES = 8000
PROGRAMS = {"secure": secure.cli.main.app, "bench": bench.__main__.app}


def program_of(words: list[str]) -> tuple[str, list[str]] | None:
    """The program of ours that a command calls, and what it gives it; None for other commands."""
    if words[0] == "secure":
        return "secure", words[1:]
    if words[0].endswith("python") and words[1:3] == ["-m", "bench"]:
        return "bench", words[3:]
    return None


def find(program: str, arguments: list[str]) -> tuple[Any, list[str]]:
    """The innermost command of click's that the first words name, and the words after them."""
    command: Any = typer.main.get_command(PROGRAMS[program])
    while arguments and not arguments[0].startswith("-") and (commands := getattr(command, "commands", {})):
        assert arguments[0] in commands, f"{program} has no command {arguments[0]!r}"
        command, arguments = commands[arguments[0]], arguments[1:]
    return command, arguments


def check(words: list[str], *, whole: bool) -> None:
    """Fails unless the command and its options exist; a whole one must be complete, with values that are taken."""
    found = program_of(words)
    if found is None:
        return
    command, rest = find(*found)
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.partition("=")[0] for word in rest if word.startswith("--")}
    assert given - {"--help", "--version"} <= options, f"{' '.join(words)}: no option {given - options}"
    if whole and not given & {"--help", "--version"}:
        command.make_context(words[0], rest)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_in_shell_blocks_are_complete_and_have_these_options(document: str) -> None:
    for words in shell_commands(document):
        try:
            check(words, whole=True)
        except Exception as error:  # click's own errors are not of one class in every version of typer
            pytest.fail(f"{document}: {' '.join(words)}: {error}")


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name != "CHANGELOG.md"])
def test_commands_within_text_exist_with_these_options(document: str) -> None:
    for words in inline_commands(document, "secure", "python", ".venv/bin/python"):
        check(words, whole=False)


@pytest.mark.parametrize("command", ["secure ee encrypt --nois 0.1", "secure lunch", "python -m bench modl minilm"])
def test_a_wrong_command_in_a_document_would_be_found(command: str) -> None:
    with pytest.raises(AssertionError):
        check(command.split(), whole=False)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_commands_are_targets(document: str) -> None:
    commands = [*shell_commands(document), *inline_commands(document, "make")]
    assert {words[1] for words in commands if words[0] == "make"} <= makefile_targets()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_settings_are_accepted(document: str) -> None:
    """Those of a block that has no certificates are added to the document's first one."""
    whole: dict[str, Any] = {}
    for block in blocks(document, "toml"):
        given = tomllib.loads(block.code)
        whole = whole or given
        parse_settings(given if "tls" in given else whole | given, ROOT / "parties.toml")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_files_and_headings(document: str) -> None:
    for target in links(document):
        name, _, anchor = target.partition("#")
        path = (ROOT / document).parent / name if name else ROOT / document
        assert path.exists(), f"{document}: no file {name}"
        assert not anchor or anchor in anchors(path.resolve()), f"{document}: {name} has no heading #{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_compiles_and_uses_exports(document: str) -> None:
    for block in blocks(document, "python"):
        if block.file:
            continue
        compile(block.code, block.where, "exec")
        used = set(re.findall(r"(?<![\w.])secure\.(\w+)", block.code))
        assert used <= {*secure.__all__, "parties", "models", "protocols"}, block.where


@pytest.mark.parametrize("document", DOCUMENTS)
def test_excerpts_are_the_code(document: str) -> None:
    """A block that names a file after its language is that file's text; a line `...` leaves something out."""
    for block in blocks(document, "python"):
        text = read(block.file) if block.file else block.code
        for part in re.split(r"^ *\.\.\.\n", block.code, flags=re.MULTILINE) if block.file else []:
            assert part in text, f"{block.where}: not in {block.file}:\n{part}"
            text = text[text.index(part) + len(part) :]


def test_the_readme_is_short_and_lists_every_page() -> None:
    assert len(read("README.md").encode()) <= README_BYTES
    pages = {name for name in DOCUMENTS if name.startswith("docs/")}
    assert pages <= set(links("README.md"))
