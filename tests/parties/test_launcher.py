"""Real processes: they come up, serve, survive each other's death, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from secure.parties.client.client import Client
from secure.parties.client.run import Progress
from secure.parties.config import PARTIES, Measure
from secure.parties.launcher import Launcher, free_addresses, launch
from secure.parties.process.exit_codes import ExitCode
from secure.parties.settings_file import settings_toml
from secure.parties.transport.certificates.making import make_certificates
from secure.protocols.core.errors import ConfigurationError, PartyLost, PortInUse, SessionError
from tests.checkout import ROOT
from tests.parties.fakes import FakeManifest, FakeRequest
from tests.parties.local import eventually

pytestmark = pytest.mark.processes

DEFAULT_FATES = {("killed", "p0"), ("hung", "p1"), ("hung", "dealer")}

PROGRAM = "tests.parties.fake_process"


def alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Launchers make their temporary folders here, so that a test can see what is left of them."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def predict(
    client: Client, manifest: FakeManifest, layers: int = 3, progress: Callable[[Progress], None] | None = None
) -> None:
    client.predict(manifest.digest, manifest.policy.digest(), FakeRequest(layers=layers), (b"a", b"b"), progress)


def test_parties_serve_and_leave_nothing_behind(temporary_folder: Path, shares: dict[str, Path]) -> None:
    lines: list[tuple[str, str]] = []
    with launch(module=PROGRAM, log=lambda role, line: lines.append((role, line))) as launcher:
        processes = launcher.process_ids
        assert set(processes) == set(PARTIES) and all(alive(number) for number in processes.values())
        (folder,) = temporary_folder.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        with Client(launcher.settings) as client:
            assert client.health() == dict.fromkeys(PARTIES, "serving")
            client.load_model(FakeManifest(), shares)
            predict(client, FakeManifest())
    assert not any(alive(number) for number in processes.values())
    assert list(temporary_folder.iterdir()) == []
    for role in PARTIES:
        assert any(role == other and "listening on" in line for other, line in lines)
        assert any(role == other and "stopping" in line for other, line in lines)


@pytest.fixture(scope="module")
def survivors() -> Iterator[Launcher]:
    """Parties without the launcher's watch: when one dies, the others go on."""
    with Launcher(module=PROGRAM, stop_when_one_ends=False) as launcher:
        launcher.start()
        yield launcher


@pytest.mark.xdist_group("survivors")
@pytest.mark.parametrize(
    ("fate", "role"),
    [
        # A party that was killed has to start again, which takes longer: one of them in the default run.
        pytest.param(fate, role, marks=[] if (fate, role) in DEFAULT_FATES else [pytest.mark.slow])
        for fate in ("killed", "hung")
        for role in PARTIES
    ],
)
def test_a_dead_or_hung_party_is_named(survivors: Launcher, shares: dict[str, Path], role: str, fate: str) -> None:
    process_id = survivors.process_ids[role]

    def strike(event: Progress) -> None:
        if event.role == "p0" and event.index == 20:
            os.kill(process_id, signal.SIGKILL if fate == "killed" else signal.SIGSTOP)

    with Client(survivors.settings) as client:
        manifest = FakeManifest()
        client.load_model(manifest, shares)
        with pytest.raises(PartyLost, match=f"{role} went away during layer "):
            predict(client, manifest, 1_000_000, strike)
        if fate == "hung":
            os.kill(process_id, signal.SIGCONT)
        else:
            health = client.health()
            assert {other for other in PARTIES if health[other] == "serving"} == set(PARTIES) - {role}
            survivors.restart(role)
        eventually(lambda: set(client.health().values()) == {"serving"})
        client.load_model(manifest, shares)
        predict(client, manifest)


def test_what_parties_are_told_reaches_them_and_when_one_dies_the_launcher_stops_the_others(
    temporary_folder: Path, tmp_path: Path
) -> None:
    seen = tmp_path / "prefix"
    prefix = ("/bin/sh", "-c", f'echo "$0" > {seen}; exec "$@"', "dealer's own")
    with launch(module=PROGRAM, measure=Measure(offline_first=True), prefixes={"dealer": prefix}) as launcher:
        assert launcher.settings.measure.offline_first
        with Client(launcher.settings) as client:
            assert set(client.health().values()) == {"serving"}
        assert seen.read_text() == "dealer's own\n"
        processes = launcher.process_ids
        os.kill(processes["p1"], signal.SIGKILL)
        with pytest.raises(SessionError, match="p1 ended by itself with exit code -9"):
            launcher.wait(60)
        launcher.stop()
    assert not any(alive(number) for number in processes.values())
    assert list(temporary_folder.iterdir()) == []


@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, *(pytest.param(kind, marks=pytest.mark.slow) for kind in (signal.SIGTERM, signal.SIGINT))],
)
def test_parties_and_files_go_when_their_launcher_dies(temporary_folder: Path, number: signal.Signals) -> None:
    script = (
        "import signal\n"
        # A shell may have started the tests with SIGINT ignored, which children inherit.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from secure.parties.launcher import launch\n"
        f"launcher = launch(module={PROGRAM!r})\n"
        "print(*launcher.process_ids.values(), flush=True)\n"
        "launcher.wait()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as parent:
        assert parent.stdout is not None
        processes = [int(word) for word in parent.stdout.readline().split()]
        assert len(processes) == len(PARTIES)
        parent.send_signal(number)
    eventually(lambda: not any(alive(process) for process in processes))
    assert list(temporary_folder.iterdir()) == []


def test_a_port_in_use_is_named(tmp_path: Path, temporary_folder: Path) -> None:
    make_certificates(tmp_path / "tls")
    addresses = free_addresses()
    config = tmp_path / "parties.toml"
    config.write_text(settings_toml(addresses, tmp_path / "tls"))
    host, port = addresses["p1"].split(":")
    with socket.socket() as taken:
        taken.bind((host, int(port)))
        taken.listen()
        with pytest.raises(PortInUse, match=f"p1 cannot listen on {addresses['p1']}: the port is in use"):
            launch(config, module=PROGRAM)
        command = [sys.executable, "-P", "-m", PROGRAM, "p1", "--config", str(config)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == ExitCode.PORT_IN_USE
    assert f"p1 cannot listen on {addresses['p1']}: the port is in use" in done.stderr


@pytest.mark.xdist_group("survivors")
def test_parties_that_serve_already_do_not_pass_for_those_that_are_launched(survivors: Launcher) -> None:
    address = survivors.settings.parties["p0"].address
    with pytest.raises(PortInUse, match=f"p0 cannot listen on {address}: the port is in use"):
        launch(survivors.config, module=PROGRAM)


def test_a_wrong_setting_is_named_by_the_launcher_itself(tmp_path: Path) -> None:
    config = tmp_path / "parties.toml"
    config.write_text("[p9]\n")
    with pytest.raises(ConfigurationError, match=r"unknown key 'p9'; did you mean 'p[012]'"):
        launch(config, module=PROGRAM)


def test_a_device_that_is_not_there_is_named_before_anything_starts(temporary_folder: Path) -> None:
    for device, words in (("gpu", "unknown device 'gpu'"), ("cuda:99", "device cuda:99 is not there")):
        with pytest.raises(ConfigurationError, match=words):
            launch(module=PROGRAM, device=device)
    assert list(temporary_folder.iterdir()) == []
