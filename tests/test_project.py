"""Facts about the project's files and packaging that users rely on."""

from __future__ import annotations

import os
import re
import tomllib
from importlib.metadata import entry_points, version
from types import ModuleType
from typing import Any

import pytest
import typer.main
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import secure
import secure.cli.main
from secure.parties.config import parse_settings
from tests.checkout import ROOT

DOCUMENTS = ("README.md", "CONTRIBUTING.md")


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    return tomllib.loads(read("pyproject.toml"))["project"]


def code_blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of one language, without their indentation as items of a list."""
    return [
        re.sub(rf"^{match['indent']}", "", match["code"], flags=re.MULTILINE)
        for match in re.finditer(
            rf"^(?P<indent> *)```{language}\n(?P<code>.*?)^ *```$", read(document), re.MULTILINE | re.DOTALL
        )
    ]


def commands(document: str, program: str) -> set[str]:
    """The sub-commands of a program in a document's shell blocks and in its `inline code`."""
    shell = "\n".join(code_blocks(document, "sh")) + "\n" + "\n".join(re.findall(r"`([^`\n]+)`", read(document)))
    return set(re.findall(rf"^{program} ([a-z]+)\b", shell, re.MULTILINE))


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):(?!=)", read("Makefile"), re.MULTILINE))


def test_version_is_the_same_everywhere() -> None:
    declared = project()["version"]
    newest = re.search(r"^## \[(\d[^\]]*)\]", read("CHANGELOG.md"), re.MULTILINE)
    assert newest is not None
    assert version("secure-inference") == declared
    assert secure.__version__ == declared
    assert newest[1] == declared


def test_exports_are_exactly_these() -> None:
    models = {"PrivateModel", "PrivateModule", "EncryptedModel"}
    exports = {"launch", "connect", "Report", "FixedPointPolicy", "errors"} | models
    assert set(secure.__all__) - {"__version__"} == exports
    assert all(hasattr(secure, name) for name in exports)
    # Submodules become attributes when they are imported; any other public name would be an export by accident.
    own = {name for name, value in vars(secure).items() if not isinstance(value, ModuleType)}
    assert {name for name in own if not name.startswith("_")} - {"annotations"} <= exports


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documented_make_commands_are_targets(document: str) -> None:
    named = commands(document, "make")
    assert {"test"} <= named <= makefile_targets()


def test_every_make_target_has_a_line_of_help() -> None:
    assert makefile_targets() == set(re.findall(r"^([a-z]+):.*## \S", read("Makefile"), re.MULTILINE))


@pytest.mark.parametrize("document", ["README.md", "SECURITY.md"])
def test_documented_secure_commands_exist(document: str) -> None:
    group = typer.main.get_command(secure.cli.main.app)
    assert commands(document, "secure") <= set(getattr(group, "commands", {}))


def test_console_script_is_the_command_line() -> None:
    (script,) = entry_points(group="console_scripts", name="secure")
    assert script.load() is secure.cli.main.main


def test_python_in_the_readme_compiles_and_uses_exports() -> None:
    blocks = code_blocks("README.md", "python")
    assert blocks
    for block in blocks:
        compile(block, "README.md", "exec")
        assert set(re.findall(r"\bsecure\.(\w+)\(?", block)) <= set(secure.__all__)


def test_parties_toml_in_the_readme_is_accepted() -> None:
    (example,) = code_blocks("README.md", "toml")
    settings = parse_settings(tomllib.loads(example), ROOT / "parties.toml")
    assert set(settings.parties) == {"p0", "p1", "dealer"}


def test_ci_runs_what_contributors_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert re.findall(r"^make (\w+)$", read(".ci/run"), re.MULTILINE) == ["check", "test"]


def test_constraints_pin_every_dependency_within_its_range() -> None:
    lines = [line for line in read("constraints.txt").splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][a-z0-9.]*", line) for line in lines)
    pins = dict(line.split("==") for line in lines)
    extras = project()["optional-dependencies"]
    for text in [*project()["dependencies"], *extras["demo"], *extras["serve"], *extras["dev"]]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), text


def test_every_dependency_has_an_upper_bound() -> None:
    extras = project()["optional-dependencies"]
    assert set(extras) == {"demo", "bench", "serve", "he", "dev"}
    for text in [*project()["dependencies"], *(line for lines in extras.values() for line in lines)]:
        assert any(bound.operator in ("<", "<=", "==") for bound in Requirement(text).specifier), text


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "secure" / "py.typed").is_file()
