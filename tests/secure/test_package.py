"""What `import secure` gives, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import secure
from secure.protocols.core import errors
from tests.checkout import ROOT
from tests.sampling import product_of


def test_errors_and_version_are_exports() -> None:
    assert secure.errors is errors
    assert secure.__version__ == "0.1.0"


def test_every_export_has_a_docstring() -> None:
    assert all(getattr(secure, name).__doc__ for name in secure.__all__ if name != "__version__")


NAMES = ("models", "parties", "protocols")
MINE = "raise SystemExit('imported the own one of this name')"


def have_package(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(MINE)


def have_checkpoints(folder: Path, name: str) -> None:
    (folder / name / "checkpoint").mkdir(parents=True)
    (folder / name / "checkpoint" / "config.json").write_text("{}")


def have_module(folder: Path, name: str) -> None:
    (folder / f"{name}.py").write_text(MINE)


HAVE = {"package": have_package, "checkpoints": have_checkpoints, "module": have_module}


@product_of(have=list(HAVE), start=["script", "module", "notebook"])
def test_a_users_own_names_do_not_collide(tmp_path: Path, have: str, start: str) -> None:
    """A user's project has `models`, `parties` and `protocols` of its own, in the folder that Python starts from."""
    for name in NAMES:
        HAVE[have](tmp_path, name)
    program = "import secure.models, secure.parties, secure.protocols.core.ring\nprint(secure.__version__)\n"
    (tmp_path / "script.py").write_text(program)
    arguments = {"script": ["script.py"], "module": ["-m", "secure", "--version"], "notebook": ["-c", program]}[start]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120
    )
    assert (done.returncode, done.stdout.split()[-1]) == (0, secure.__version__), done.stderr


@pytest.mark.parametrize("chosen", [None, "ERROR"])
def test_grpc_is_silent_unless_the_user_wants_it_otherwise(chosen: str | None) -> None:
    """Two servers on one port, of which gRPC tells on standard error in words of its own."""
    program = (
        "import secure.parties, grpc\n"
        "from concurrent import futures\n"
        "options = [('grpc.so_reuseport', 0)]\n"
        "first, second = (grpc.server(futures.ThreadPoolExecutor(1), options=options) for _ in range(2))\n"
        "port = first.add_insecure_port('127.0.0.1:0')\n"
        "try:\n"
        "    second.add_insecure_port(f'127.0.0.1:{port}')\n"
        "except RuntimeError:\n"
        "    print('in use')\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    environment |= {"PYTHONPATH": str(ROOT)} | ({"GRPC_VERBOSITY": chosen} if chosen else {})
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout == "in use\n"
    assert ("already in use" in done.stderr) == (chosen is not None), done.stderr


def test_the_package_is_a_program() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "secure", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert (done.returncode, done.stdout) == (0, f"secure-inference {secure.__version__}\n"), done.stderr
