"""Where a party's key comes from, and that each kind keeps its promise over a restart."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from secure.parties.stock.key import KEY_BYTES, NAME, find_key, sealed_memory
from secure.protocols.core.errors import ConfigurationError

SHOW = "import sys; from pathlib import Path; from secure.parties.stock.key import find_key;"
SHOW += "print(find_key('systemd', Path('.')).fingerprint)"


def test_a_key_in_memory_is_another_one_at_each_start(tmp_path: Path) -> None:
    first, second = find_key("memory", tmp_path), find_key("memory", tmp_path)
    assert first.fingerprint != second.fingerprint
    assert not first.outlives
    assert list(tmp_path.iterdir()) == []


def test_each_purpose_has_its_own_key_and_none_is_shown(tmp_path: Path) -> None:
    key = find_key("memory", tmp_path)
    assert len({key.secret, key.derived("stock"), key.derived("models")}) == 3
    assert key.secret.hex() not in repr(key)
    assert str(key.secret) not in repr(key)


def test_a_key_in_a_file_is_found_again_and_said_loudly(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "stock"
    assert find_key("file", folder) == find_key("file", folder)
    assert "For tests only" in caplog.text
    assert (folder / NAME).stat().st_mode & 0o777 == 0o600
    (folder / NAME).chmod(0o644)
    with pytest.raises(ConfigurationError, match="other users"):
        find_key("file", folder)


def test_a_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigurationError, match="CREDENTIALS_DIRECTORY"):
        find_key("credential", tmp_path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        find_key("credential", tmp_path)
    (tmp_path / NAME).write_bytes(bytes(16))
    with pytest.raises(ConfigurationError, match="16 bytes instead"):
        find_key("credential", tmp_path)
    (tmp_path / NAME).write_bytes(bytes(KEY_BYTES))
    assert find_key("credential", tmp_path).secret == bytes(KEY_BYTES)


def test_without_a_service_manager_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("LISTEN_PID", raising=False)
    with pytest.raises(ConfigurationError, match="FileDescriptorStoreMax"):
        find_key("systemd", tmp_path)


def test_the_manager_is_given_the_key_and_hands_it_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LISTEN_PID", raising=False)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        key = find_key("systemd", tmp_path)
        message, descriptors, *_ = socket.recv_fds(manager, 1000, 4)
    assert message == f"FDSTORE=1\nFDNAME={NAME}\n".encode()
    assert key.outlives
    (held,) = descriptors
    with pytest.raises(PermissionError):
        os.pwrite(held, b"x", 0)
    assert _started_with(held) == key.fingerprint
    os.close(held)


def test_a_descriptor_that_others_could_change_is_refused() -> None:
    descriptor = os.memfd_create(NAME)
    os.write(descriptor, bytes(KEY_BYTES))
    assert "no sealed memory file" in _started_with(descriptor)
    os.close(descriptor)
    descriptor = sealed_memory(bytes(8))
    assert "8 bytes instead" in _started_with(descriptor)
    os.close(descriptor)


def _started_with(descriptor: int) -> str:
    """What a process says of its key that gets a descriptor as the service manager hands it down."""
    hand_down = f"import os; os.dup2({descriptor}, 3); os.set_inheritable(3, True); env = dict(os.environ, "
    hand_down += f"LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='{NAME}'); "
    hand_down += "import sys; os.execve(sys.executable, [sys.executable, '-c', sys.argv[1]], env)"
    done = subprocess.run(
        [sys.executable, "-c", hand_down, SHOW], pass_fds=[descriptor], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or done.stderr
