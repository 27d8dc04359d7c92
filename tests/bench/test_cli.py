"""python -m bench: its commands, and what it says when something is wrong."""

from __future__ import annotations

import sys

import pytest
import typer.main

from bench import __main__ as command_line
from bench.measure import Setting
from bench.scale import VALUES, setting_at


def call(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    return int(ended.value.code or 0)


def test_every_command_has_an_example_in_its_help() -> None:
    commands = typer.main.get_command(command_line.app).commands
    assert {"model", "layer", "scale", "gates", "peers", "numerics", "report", "baseline"} <= set(commands)
    for name, command in commands.items():
        assert f"Example: python -m bench {name}" in (command.help or ""), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("model", "gpt-9"), "unknown model 'gpt-9'; known: minilm, bert-base, bert-large"),
        (("scale", "hidden", "--model", "bert-base", "--values", "100"), "a hidden size of 100"),
        (("scale", "tokens", "--values", "16;32"), "'16;32' is no list of whole numbers"),
        (("gates", "--only", "nonsense"), "no gate is named 'nonsense'"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_one(
    arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments, monkeypatch=monkeypatch) == 1
    assert message in " ".join(capsys.readouterr().out.split())


def test_one_dimension_is_changed_and_phases_are_not_measured_apart() -> None:
    setting = Setting("minilm", 32, 1, "private", None, 3)
    for dimension, values in VALUES.items():
        changed = setting_at(setting, dimension, values[-1])
        assert getattr(changed, dimension) == values[-1]
        assert not changed.phases
        assert all(getattr(changed, other) == getattr(setting, other) for other in VALUES if other != dimension)
