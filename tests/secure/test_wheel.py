"""What is installed: the wheel, and the editable checkout, in a bare environment and beside a user's own packages."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

import secure
from tests.checkout import ROOT

ROOMS = ("protocols", "models", "parties")
SOURCES = ("secure", *ROOMS, "pyproject.toml", "setup.py", "README.md", "LICENSE")
BUILD = ("--no-index", "--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check")
PROGRAM = """
import sys, models, parties, protocols
import secure

if __name__ == "__main__":
    with secure.launch() as started:
        model = secure.PrivateModel.from_pretrained(sys.argv[1], parties=started)
        print(*model.encode(["the cat"]).shape)
    print(models.MINE, parties.MINE, protocols.MINE, secure.__file__)
"""


def run(*command: str | Path, folder: Path | None = None) -> str:
    """The standard output of a command that succeeds."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=folder, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def packages_of(room: str) -> list[str]:
    """The files that a room installs, by their names in the wheel."""
    within = ROOT / room
    files = [path for path in within.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    inside = "secure" if room == "secure" else f"secure/{room}"
    return [f"{inside}/{path.relative_to(within).as_posix()}" for path in files]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is built, with what an earlier build left: a module and a data file that are gone."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    for name in ("bench", "tests"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").touch()
    old = folder / "build" / "lib" / "secure"
    old.mkdir(parents=True)
    (old / "removed.py").touch()
    (old / "removed.json").touch()
    return folder


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", *BUILD, "--wheel-dir", out, checkout)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_one_package_with_every_file_of_it_and_no_other(wheel: Path) -> None:
    names = set(ZipFile(wheel).namelist())
    installed = {name for name in names if ".dist-info/" not in name}
    assert installed == {name for room in ("secure", *ROOMS) for name in packages_of(room)}
    assert {
        "secure/py.typed",
        "secure/ee/files/red_team.json",
        "secure/parties/transport/wire.proto",
        "secure/parties/encrypted/generation.proto",
        "secure/protocols/core/ring.py",
        "secure/models/latency.json",
        "secure/models/program.py",
        "secure/parties/__main__.py",
    } <= installed


@pytest.fixture(scope="module", params=["wheel", "editable"])
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with our package alone; a .pth file leads to the packages that the tests run with."""
    folder = tmp_path_factory.mktemp(request.param)
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    what = [request.getfixturevalue("wheel")]
    if request.param == "editable":
        what = ["--editable", request.getfixturevalue("checkout")]
    run(sys.executable, "-m", "pip", "--python", python, "install", *BUILD, *what)
    return python


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's folder with packages and modules of our rooms' names."""
    for name in ROOMS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("MINE = 'mine'")
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the package of this name goes first')")
    (tmp_path / "script.py").write_text(PROGRAM)
    return tmp_path


@pytest.mark.parametrize("start", ["script", "notebook", "module"])
@pytest.mark.slow
@pytest.mark.processes
def test_an_installed_package_predicts_beside_a_users_own(
    python: Path, project: Path, checkpoint: Path, start: str
) -> None:
    """A fresh installation compiles its loops at first, which takes most of the time here."""
    if start == "module":
        out = run(python, "-m", "secure", "predict", "--model", checkpoint, "--text", "the cat", folder=project)
        assert "24 numbers]  the cat" in out
        return
    out = run(python, *(["script.py"] if start == "script" else ["-c", PROGRAM]), checkpoint, folder=project)
    *found, file = out.split()
    assert found == ["1", "24", "mine", "mine", "mine"]
    assert Path(file) != ROOT / "secure" / "__init__.py"


def test_the_command_is_installed(python: Path, project: Path) -> None:
    assert run(python.with_name("secure"), "--version", folder=project) == f"secure-inference {secure.__version__}\n"
