"""What starts without the packages that take long to import. Modules are counted, not seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, get_args

import pytest
import typer.main

from secure.cli import lazy_imports, main, options
from secure.cli.ee.options import AssumedTier
from secure.ee.files.manifest import Assumption
from secure.models.contract.manifest import WeightVisibility
from secure.parties.config import ALL_PARTIES
from secure.protocols.families import FAMILIES
from tests.checkout import ROOT

HEAVY = {"torch", "transformers", "numba", "numpy", "scipy", "grpc", "safetensors", "starlette"}
RUN = """
import contextlib, io, json, sys
from secure.cli.main import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["secure", *arguments]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
    assert (code, bool(out.getvalue())) == ((2, False) if "--no-such-option" in arguments else (0, True)), arguments
"""


def modules_after(program: str, *arguments: str) -> set[str]:
    """Names of what a fresh interpreter has imported after a program."""
    ending = "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program + ending, *arguments], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def every_command(group: Any, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Words that name each command and group of `secure`."""
    found = [before]
    for name, command in getattr(group, "commands", {}).items():
        found += every_command(command, (*before, name))
    return found


def test_help_version_and_usage_errors_of_every_command_are_light() -> None:
    commands = every_command(typer.main.get_command(main.app))
    assert {("party",), ("ee",), ("ee", "serve")} <= set(commands)
    lines = [[*words, option] for words in commands for option in ("--help", "--no-such-option")]
    assert not HEAVY & modules_after(RUN, json.dumps([["--version"], *lines]))


@pytest.mark.parametrize(
    "program",
    [
        "import secure",
        "import secure; dir(secure)",
        "import secure; secure.errors",
        "import secure.parties.process.exit_codes",
    ],
)
def test_these_imports_are_light(program: str) -> None:
    assert not HEAVY & modules_after(program)


@pytest.mark.parametrize(
    "program",
    [
        "import secure.protocols.core.ring",
        "from secure.cli.party import party_process as p, model_engine as m; p.main, m.model_engine",
    ],
)
def test_what_computes_does_without_transformers(program: str) -> None:
    found = modules_after(program)
    assert "torch" in found
    assert not {"transformers", "tokenizers", "huggingface_hub", "starlette"} & found


def test_the_options_list_what_there_is() -> None:
    """They say again what modules with torch define."""
    assert get_args(options.ProtocolName) == tuple(FAMILIES)
    assert set(get_args(options.PartyName)) == set(ALL_PARTIES)
    assert get_args(options.Weights) == get_args(WeightVisibility)
    assert get_args(AssumedTier) == get_args(Assumption)


def test_only_the_file_that_says_so_imports_lazily() -> None:
    with lazy_imports.lazy_imports("another file"):
        from secure.demo import sample
    assert vars(sample)["QUERY"]


def test_lazy_imports_are_of_modules() -> None:
    with lazy_imports.lazy_imports(__name__):
        from secure.demo import sample
    assert "QUERY" not in vars(sample)
    assert sample.QUERY == "My knee hurts after running, what helps?"
    with pytest.raises(ImportError, match="from package import module"), lazy_imports.lazy_imports(__name__):
        import secure.demo.sample  # noqa: F401
