"""What --security asks for: a protocol that has it, or an error that says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from secure import connection
from secure.audit.canaries import Canaries
from secure.cli import adversary, main
from secure.cli.text import dialogue
from secure.demo import demo as search
from secure.parties import launcher
from secure.parties.launcher import free_addresses
from secure.parties.settings_file import settings_toml
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.families import FAMILIES


def test_what_is_asked_for_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    def launch(config: Any, **options: Any) -> Any:
        started.append(options["protocol"])
        raise ConfigurationError("enough")

    monkeypatch.setattr(launcher, "launch", launch)
    for arguments in ([], ["--security", "malicious"], ["--security", "semi-honest", "--protocol", "replicated"]):
        CliRunner().invoke(main.app, ["launch", *arguments])
    assert started == ["beaver", "witnessed", "replicated"]


@pytest.mark.parametrize(
    "words",
    [
        "predict --model MODEL --text cat",
        "generate MODEL --text cat",
        "chat MODEL",
        "gateway MODEL",
        "audit prepare MODEL TEXTS",
        "audit run CANARIES --model MODEL",
        "demo",
    ],
)
def test_every_command_that_starts_parties_takes_it(
    words: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def launch(*_: Any, protocol: str, **__: Any) -> Any:
        started.append(protocol)
        raise ConfigurationError("enough")

    monkeypatch.setattr(connection, "launch", launch)
    monkeypatch.setattr(search, "run_demo", launch)
    monkeypatch.setattr(dialogue, "check_template", lambda *_: None)
    places = {"MODEL": checkpoint, "TEXTS": tmp_path / "texts.txt", "CANARIES": tmp_path / "canaries.json"}
    places["TEXTS"].write_text("the cat\n")
    Canaries("embedding", (), (1e-6,)).save(places["CANARIES"])
    arguments = [str(places.get(word, word)) for word in words.split()]
    for asked in ("malicious", "semi-honest"):
        done = CliRunner().invoke(main.app, [*arguments, "--security", asked])
        assert "enough" in f"{done.output}{done.exception}", done.output
    assert started == ["witnessed", "beaver"]


def test_a_protocol_without_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'replicated' has security 'semi-honest', 'malicious' is asked"):
        adversary.protocol_for("replicated", "malicious", None)
    for name, family in FAMILIES.items():
        path = tmp_path / f"{name}.toml"
        path.write_text(settings_toml(free_addresses(family.roles), tmp_path, protocol=name))
        assert adversary.protocol_for("beaver", None, path) == "beaver", "the file says which, where nobody asks"
        if family.security == "malicious":
            assert adversary.protocol_for("beaver", "malicious", path) == name
        else:
            with pytest.raises(ConfigurationError, match=f"is for the protocol '{name}', whose security is 'semi-"):
                adversary.protocol_for("beaver", "malicious", path)
