"""secure ee from the command line: a whole round, and the wrong ways of using it."""

from __future__ import annotations

import io
import json
import re
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import typer.main
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from secure.cli import main
from secure.cli.ee.group import app
from secure.ee.files.checkpoint import open_checkpoint
from secure.ee.files.keyfile import needs_passphrase, read_key, write_key
from secure.ee.files.passphrase import VARIABLE
from secure.ee.owner import decrypt
from secure.parties.process.exit_codes import ExitCode
from secure.protocols.equivariant.key import Key

Run = Callable[..., int]
COMMANDS = sorted(getattr(typer.main.get_command(app), "commands", {}))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Call main with arguments of `secure ee`; gives the exit code."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    monkeypatch.delenv(VARIABLE, raising=False)

    def call(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["secure", "ee", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main.main()
        return int(caught.value.code or 0)

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def key_file(key: Key, tmp_path: Path) -> Path:
    write_key(tmp_path / "model.key", key, None)
    return tmp_path / "model.key"


def test_the_commands_are_there() -> None:
    assert {"keygen", "encrypt", "decrypt", "rekey", "verify", "tokenizer"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_has_an_example(command: str) -> None:
    result = CliRunner().invoke(main.app, ["ee", command, "--help"], env={"COLUMNS": "100", "TERM": "dumb"})
    assert result.exit_code == 0
    assert re.search(rf"^ *(\w+=\S+ )?secure ee {command}\b", result.output, re.MULTILINE)


def test_a_whole_round(run: Run, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "first.key", tmp_path / "second.key"
    (tmp_path / "passphrase").write_text("from a file\nnot this line\n")
    words = ("--passphrase-file", tmp_path / "passphrase")
    assert run("keygen", "--out", first, *words) == 0
    assert read_key(first, "from a file").epoch == 0
    assert run("encrypt", base, "--key", first, "--out", tmp_path / "e", "--shard-gb", "0.001", *words) == 0
    told = capsys.readouterr().out
    assert "Assumed: T0, an observer of wire or logs. Configuration: full. Nothing is claimed" in told
    assert run("verify", tmp_path / "e", "--key", first, "--base", base, *words) == 0
    assert "every tensor is what the key makes of" in " ".join(capsys.readouterr().out.split())
    assert run("rekey", tmp_path / "e", "--key", first, "--out", tmp_path / "e2", "--new-key", second, *words) == 0
    assert "can align the two row by row" in capsys.readouterr().out
    assert read_key(second, "from a file").epoch == 1
    assert run("tokenizer", tmp_path / "e2", "--key", second, "--out", tmp_path / "t", *words) == 0
    assert run("decrypt", tmp_path / "e2", "--key", second, "--out", tmp_path / "plain", *words) == 0
    assert "with gains folded" in capsys.readouterr().out
    ids = torch.arange(4, 24)[None]
    with torch.inference_mode():
        due, found = (AutoModelForCausalLM.from_pretrained(folder)(ids).logits for folder in (base, tmp_path / "plain"))
    assert torch.allclose(found, due, atol=2e-5 * float(due.abs().max()))


def test_permutations_come_back_bit_for_bit(
    run: Run, base: Path, key_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("encrypt", base, "--key", key_file, "--out", tmp_path / "e", "--permutations", "--assume", "T0") == 0
    assert "Configuration: permutation. Nothing" in capsys.readouterr().out
    assert run("decrypt", tmp_path / "e", "--key", key_file, "--out", tmp_path / "plain") == 0
    assert "bit for bit the base" in capsys.readouterr().out


def test_split_and_options(run: Run, base: Path, key_file: Path, key: Key, tmp_path: Path) -> None:
    folders = ("--out", tmp_path / "server", "--split", tmp_path / "client")
    assert run("encrypt", base, "--key", key_file, *folders, "--dtype", "bfloat16", "--factor", "vocabulary") == 0
    manifest = open_checkpoint(tmp_path / "client", key).manifest
    assert (manifest.mode, manifest.dtype, manifest.factors) == ("client", "BF16", ("vocabulary",))
    assert load_file(tmp_path / "server" / "model.safetensors")["lm_head.weight"].shape[0] == 1


def test_what_is_not_hidden_is_said(
    run: Run,
    base: Path,
    key_file: Path,
    tmp_path: Path,
    no_red_team: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = {"full": {"status": "broken", "figure": "A11 reads 82 %"}}
    no_red_team.write_text(json.dumps({"format": 1, "verdicts": {"T0": broken, "T1": broken}}))
    assert run("encrypt", base, "--key", key_file, "--out", tmp_path / "e") == 0
    told = capsys.readouterr().out
    assert "Assumed: none, nobody is kept out. Configuration: full. Nothing is claimed." in told
    assert "It does not hide from a server without the base weights (T1): A11 reads 82 %." in told


def test_the_variable_has_the_passphrase(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "from the environment")
    assert run("keygen", "--out", tmp_path / "k") == 0
    read_key(tmp_path / "k", "from the environment")


def test_a_terminal_is_asked_twice(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, object]] = []

    def prompt(text: str, **options: object) -> str:
        asked.append(options)
        return "typed"

    monkeypatch.setattr("secure.ee.files.passphrase.typer.prompt", prompt)
    monkeypatch.setattr(sys, "stdin", type("Terminal", (io.StringIO,), {"isatty": lambda self: True})())
    assert run("keygen", "--out", tmp_path / "k") == 0
    assert [(options["hide_input"], options["confirmation_prompt"]) for options in asked] == [(True, True)]
    read_key(tmp_path / "k", "typed")


def test_a_key_in_the_clear_only_on_request(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("keygen", "--out", tmp_path / "k") == ExitCode.CONFIGURATION
    assert VARIABLE in capsys.readouterr().err
    assert not (tmp_path / "k").exists()
    assert run("keygen", "--out", tmp_path / "k", "--clear") == 0
    assert not needs_passphrase(tmp_path / "k")
    assert run("keygen", "--out", tmp_path / "k", "--clear") == ExitCode.CONFIGURATION
    assert "never overwritten" in capsys.readouterr().err


def test_no_option_takes_a_passphrase() -> None:
    for command in COMMANDS:
        result = CliRunner().invoke(main.app, ["ee", command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
        assert set(re.findall(r"--passphrase[\w-]*", result.output)) <= {"--passphrase-file"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("verify", "{base}"), ExitCode.CHECKPOINT, "is no encrypted checkpoint"),
        (("encrypt", "{e}", "--key", "{key}", "--out", "{out}"), ExitCode.CHECKPOINT, "is encrypted already"),
        (("encrypt", "{base}", "--key", "{key}", "--out", "{e}"), ExitCode.CONFIGURATION, "is not empty"),
        (("encrypt", "{base}", "--key", "{base}/config.json", "--out", "{out}"), ExitCode.CONFIGURATION, "no key file"),
        (("encrypt", "{base}", "--key", "{key}", "--out", "{out}", "--assume", "T2"), ExitCode.CONFIGURATION, "T2"),
        (
            ("encrypt", "{base}", "--key", "{key}", "--out", "{out}", "--factor", "vocabulry"),
            ExitCode.CONFIGURATION,
            "did you mean 'vocabulary'",
        ),
        (("encrypt", "{base}", "--key", "{key}", "--out", "{out}", "--base", "{base}"), 10, "go with an adapter"),
        (("decrypt", "{e}", "--key", "{other}", "--out", "{out}"), ExitCode.CHECKPOINT, "wrong key"),
        (("verify", "{e}", "--base", "{base}"), ExitCode.CHECKPOINT, "needs the key"),
        (("rekey", "{e}", "--key", "{key}", "--out", "{out}", "--new-key", "{other}"), 10, "never overwritten"),
        (("encrypt", "{base}", "--out", "{out}"), ExitCode.USAGE, "--key"),
    ],
)
def test_wrong_ways_end_with_a_sentence_and_a_code(
    run: Run,
    base: Path,
    encrypted: Path,
    key: Key,
    key_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    other, out = tmp_path / "other.key", tmp_path / "out"
    write_key(other, Key(key.secret[::-1]), None)
    names = {"base": base, "e": encrypted, "key": key_file, "other": other, "out": out}
    assert run(*(argument.format(**names) for argument in arguments)) == code
    told = capsys.readouterr().err
    assert words in " ".join(told.split())
    assert "Traceback" not in told
    assert not out.exists()


def test_a_closed_terminal_leaves_no_plain_weights(
    run: Run, encrypted: Path, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []

    def interrupted(folder: Path, *_: object, **__: object) -> None:
        (folder / "model.safetensors").touch()
        modes.append(stat.S_IMODE(folder.stat().st_mode))
        signal.raise_signal(signal.SIGHUP)

    signal.signal(signal.SIGHUP, lambda *_: None)  # without a handler of its own main would not end
    monkeypatch.setattr(decrypt, "write_tensors", interrupted)
    assert run("decrypt", encrypted, "--key", key_file, "--out", tmp_path / "plain") == 128 + signal.SIGHUP
    assert modes == [0o700]
    assert [path.name for path in tmp_path.iterdir()] == ["model.key"]


def test_nohup_is_obeyed(run: Run, encrypted: Path) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert run("verify", encrypted) == 0
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_an_adapter_needs_both_of_its_bases(
    run: Run, base: Path, key_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    assert run("encrypt", adapter, "--key", key_file, "--out", tmp_path / "out") == ExitCode.CONFIGURATION
    assert "--base, and the encrypted one with --onto" in " ".join(capsys.readouterr().err.split())
