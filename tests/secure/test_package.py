"""What `import secure` gives, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import secure
from protocols.core import errors
from secure import siblings

RUN = "import secure, sys; print(secure.__version__)"


def test_errors_and_version_are_exports() -> None:
    assert secure.errors is errors
    assert secure.__version__ == "0.1.0"


def test_every_export_has_a_docstring() -> None:
    assert all(vars(secure)[name].__doc__ for name in secure.__all__ if name != "__version__")


def test_siblings_are_ours() -> None:
    siblings.check()
    assert siblings.find("models") == siblings.HOME / "models"
    assert siblings.find("no_such_package_anywhere") is None


def test_packages_elsewhere_are_named_with_both_paths(tmp_path: Path) -> None:
    with pytest.raises(ImportError) as caught:
        siblings.check(tmp_path)
    assert str(tmp_path / "models") in str(caught.value)
    assert str(siblings.HOME / "models") in str(caught.value)


@pytest.mark.parametrize("kind", ["package", "module"])
def test_a_users_package_of_the_same_name_is_refused(tmp_path: Path, kind: str) -> None:
    if kind == "package":
        theirs = tmp_path / "models"
        theirs.mkdir()
        (theirs / "__init__.py").write_text("raise SystemExit('imported the wrong one')")
    else:
        theirs = tmp_path / "models.py"
        theirs.write_text("raise SystemExit('imported the wrong one')")
    program = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(siblings.HOME)!r}]; {RUN}"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: ")
    assert str(theirs) in last
    assert str(siblings.HOME / "models") in last


@pytest.mark.parametrize("chosen", [None, "ERROR"])
def test_grpc_is_silent_unless_the_user_wants_it_otherwise(chosen: str | None) -> None:
    """Two servers on one port, of which gRPC tells on standard error in words of its own."""
    program = (
        "import parties, grpc\n"
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
    environment |= {"PYTHONPATH": str(siblings.HOME)} | ({"GRPC_VERBOSITY": chosen} if chosen else {})
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout == "in use\n"
    assert ("already in use" in done.stderr) == (chosen is not None), done.stderr


def test_the_package_is_a_program() -> None:
    environment = {**os.environ, "PYTHONPATH": str(siblings.HOME)}
    command = [sys.executable, "-m", "secure", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert (done.returncode, done.stdout) == (0, f"secure-inference {secure.__version__}\n"), done.stderr
