"""Facts about the project's files and packaging that users rely on."""

from __future__ import annotations

import os
import re
import tomllib
from importlib.metadata import entry_points, version
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import secure
import secure.cli.main
from tests.checkout import ROOT
from tests.docs.pages import makefile_targets, read


def project() -> dict[str, Any]:
    return tomllib.loads(read("pyproject.toml"))["project"]


def test_version_is_the_same_everywhere() -> None:
    declared = project()["version"]
    newest = re.search(r"^## \[(\d[^\]]*)\]", read("CHANGELOG.md"), re.MULTILINE)
    assert newest is not None
    assert version("secure-inference") == declared
    assert secure.__version__ == declared
    assert newest[1] == declared


def test_exports_are_exactly_these() -> None:
    models = {"PrivateModel", "PrivateModule", "EncryptedModel"}
    exports = {"launch", "connect", "check", "cost", "reference", "Report", "FixedPointPolicy", "errors"}
    exports |= {"ClassifyEndpoint", "Receipt", "Verifier", "attacks"} | models
    assert set(secure.__all__) - {"__version__"} == exports
    assert all(hasattr(secure, name) for name in exports)
    # Submodules become attributes when they are imported; any other public name would be an export by accident.
    own = {name for name, value in vars(secure).items() if not isinstance(value, ModuleType)}
    assert {name for name in own if not name.startswith("_")} - {"annotations"} <= exports


def test_every_make_target_has_a_line_of_help() -> None:
    assert makefile_targets() == set(re.findall(r"^([a-z-]+):.*## \S", read("Makefile"), re.MULTILINE))


def test_console_script_is_the_command_line() -> None:
    (script,) = entry_points(group="console_scripts", name="secure")
    assert script.load() is secure.cli.main.main


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
    assert set(extras) == {"demo", "bench", "serve", "he", "otel", "browser", "fuzz", "dev"}
    for text in [*project()["dependencies"], *(line for lines in extras.values() for line in lines)]:
        assert any(bound.operator in ("<", "<=", "==") for bound in Requirement(text).specifier), text


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "secure" / "py.typed").is_file()


@pytest.mark.xdist_group("of_one")
def test_workers_keep_groups_of_tests_together(request: pytest.FixtureRequest) -> None:
    """What is shared by the tests of a group is set up once. Releases of pytest and its plugin have disagreed there."""
    if "PYTEST_XDIST_WORKER" not in os.environ or not request.config.getoption("loadgroup"):
        pytest.skip("not run by workers that keep groups together")
    assert request.node.nodeid.endswith("@of_one")
