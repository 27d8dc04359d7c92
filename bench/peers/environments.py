"""A virtual environment for each peer, made from pinned requirements, once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.peers.errors import PeerError

_HERE = Path(__file__).parent
CACHE = _HERE.parent.parent / ".peers"
MP_SPDZ_COMMIT = "3a0a7b1d"
"""The state of MP-SPDZ (June 2026) that was measured."""
MP_SPDZ_BINARY = "rep4-ring-party.x"
_INSTALL_SECONDS = 1800.0
_LAST_LINES = 3


@dataclass(frozen=True)
class Environment:
    """requirements: files in this folder, installed in order; those in `alone` without their dependencies."""

    name: str
    requirements: tuple[str, ...]
    alone: tuple[str, ...] = ()
    pythons: tuple[str, ...] = ("3.10", "3.11", "3.12", "3.13", "3.14")


ENVIRONMENTS = {
    "spu": Environment("spu", ("spu.txt",), pythons=("3.11", "3.10")),
    "crypten": Environment("crypten", ("crypten.txt",), alone=("crypten-alone.txt",)),
}


def ensure(environment: Environment, cache: Path = CACHE, tell: Callable[[str], None] = print) -> Path:
    """The path of an environment's interpreter; makes the environment if it is missing or its pins have changed.

    Raises PeerError with the last words of what failed.
    """
    folder = cache / environment.name
    python, stamp = folder / "bin" / "python", folder / "installed.txt"
    pins = "".join(
        (_HERE / name).read_text(encoding="utf-8") for name in (*environment.requirements, *environment.alone)
    )
    if python.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == pins:
        return python
    tell(f"making the environment of {environment.name} in {folder}")
    shutil.rmtree(folder, ignore_errors=True)
    _run([_interpreter(environment), "-m", "venv", str(folder)])
    install = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    for name in environment.requirements:
        _run([*install, "--requirement", str(_HERE / name)])
    for name in environment.alone:
        _run([*install, "--no-deps", "--requirement", str(_HERE / name)])
    stamp.write_text(pins, encoding="utf-8")
    return python


def mp_spdz(folder: Path | None = None) -> Path:
    """MP-SPDZ's checkout with its four-party program; `MP_SPDZ` in the environment says where, else it is in `CACHE`.

    Raises PeerError, which says how to build it: it is C++ and takes about half an hour of a core.
    """
    folder = folder or Path(os.environ.get("MP_SPDZ", CACHE / "mp-spdz"))
    if not (folder / MP_SPDZ_BINARY).exists():
        raise PeerError(
            f"no {MP_SPDZ_BINARY} in {folder}: clone https://github.com/data61/MP-SPDZ there, check out "
            f"{MP_SPDZ_COMMIT} and run 'make {MP_SPDZ_BINARY}' (needs g++, Boost, GMP and libsodium)"
        )
    return folder


def _interpreter(environment: Environment) -> str:
    if f"{sys.version_info.major}.{sys.version_info.minor}" in environment.pythons:
        return sys.executable
    for wanted in environment.pythons:
        found = shutil.which(f"python{wanted}")
        if found:
            return found
    raise PeerError(f"{environment.name} needs Python {' or '.join(environment.pythons)}, which is not installed here")


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise PeerError(f"{' '.join(command[1:])} took more than {_INSTALL_SECONDS:.0f} s") from None
    if done.returncode:
        last = " / ".join((done.stderr or done.stdout).strip().splitlines()[-_LAST_LINES:])
        raise PeerError(f"{' '.join(command[1:])} ended with status {done.returncode}: {last}")
