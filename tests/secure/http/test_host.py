"""Who reaches an HTTP server: addresses, certificates, keys."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from secure.ee.http.ids_server import ids_app
from secure.http.api_keys import find_api_key
from secure.http.host import HttpServer, authority_file, check_exposure
from secure.parties.encrypted.engine import GenerationEngine
from secure.parties.encrypted.limits import Admission, GenerationLimits
from secure.protocols.core.errors import ConfigurationError, PortInUse
from tests.secure.ee.fakes import FakeEngine

ServeHttp = Callable[..., int]


def app(engine: GenerationEngine) -> Any:
    return ids_app(engine, Admission(engine.served, GenerationLimits()))


def test_https_with_the_generation_certificates(serve_http: ServeHttp, engine: FakeEngine, certificates: Path) -> None:
    port = serve_http(app(engine), certificates)
    context = ssl.create_default_context(cafile=str(authority_file(certificates)))
    with httpx.Client(verify=context) as client:
        assert client.get(f"https://127.0.0.1:{port}/v1/models").json()["data"][0]["id"] == "fake"


def test_a_key_that_others_may_read_is_refused(engine: FakeEngine, certificates: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(certificates, tmp_path / "copy"))
    (folder / "server.key").chmod(0o644)
    with pytest.raises(ConfigurationError, match=r"other users may read .*server\.key \(mode 0644\); run: chmod 600"):
        HttpServer(app(engine), "127.0.0.1:0", folder)


def test_a_port_in_use(serve_http: ServeHttp, engine: FakeEngine) -> None:
    port = serve_http(app(engine))
    with pytest.raises(PortInUse, match=f"cannot listen on 127.0.0.1:{port}"):
        HttpServer(app(engine), f"127.0.0.1:{port}").start()


@pytest.mark.parametrize("address", ["8000", "host", "host:", ":80", "host:99999"])
def test_addresses_that_are_none(engine: FakeEngine, address: str) -> None:
    with pytest.raises(ConfigurationError, match='expected "host:port"'):
        HttpServer(app(engine), address)


def test_other_machines_need_a_key() -> None:
    for address in ("127.0.0.1:80", "localhost:80", "[::1]:80"):
        check_exposure(address, None, "it")
    check_exposure("0.0.0.0:80", "key", "it")
    with pytest.raises(ConfigurationError, match="can be reached by other machines, so it needs an API key"):
        check_exposure("0.0.0.0:80", None, "it")


def test_api_keys_come_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text("from-file\nsecond line\n")
    monkeypatch.setenv("SOME_KEY", "from-environment")
    assert find_api_key(file, "SOME_KEY") == "from-file"
    assert find_api_key(None, "SOME_KEY") == "from-environment"
    monkeypatch.delenv("SOME_KEY")
    assert find_api_key(None, "SOME_KEY") is None
    for wrong in ("", "two words", "ключ"):
        file.write_text(wrong)
        with pytest.raises(ConfigurationError, match=r"API key in .* is empty or has characters"):
            find_api_key(file, "SOME_KEY")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        find_api_key(tmp_path / "none", "SOME_KEY")
