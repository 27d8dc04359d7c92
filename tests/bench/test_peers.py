"""The comparison's machinery, with peers that are small scripts, and PUMA's formulas against the functions meant."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from transformers import BertConfig, BertModel

from bench.peers import mp_spdz_program, mp_spdz_runner, puma
from bench.peers.command import table
from bench.peers.environments import Environment, ensure, mp_spdz
from bench.peers.errors import PeerError
from bench.peers.interleave import beside_ours, interleave, ratios
from bench.peers.system import Figures, Peer, Run
from bench.peers.workload import layer_arrays, workload
from bench.peers.workload_file import load

# A runner as the real ones are, with numpy for a protocol. Its first argument says what it does at a run.
FAKE = """
import os, sys
import numpy as np
from bench.peers import lines

def prepare():
    if sys.argv[1] == "refuse":
        raise ValueError("no such protocol")
    print("a library that talks")
    def run(command):
        if sys.argv[1] == "fail":
            raise RuntimeError("triples ran out")
        if sys.argv[1] == "die":
            print("out of memory", file=sys.stderr)
            os._exit(9)
        np.save(command["output"], np.full((1, 2, 3), 0.25))
        return {"seconds": 2.0, "bytes_sent_per_party": 10, "rounds": 4, "peak_memory_bytes": {"party 0": 5}}
    return {"versions": {"fake": "1"}}, run

sys.exit(lines.serve(prepare))
"""
DUE = np.zeros((1, 2, 3))


@pytest.fixture
def fake(tmp_path: Path) -> Callable[[str], Peer]:
    script = tmp_path / "fake_runner.py"
    root = Path(__file__).parent.parent.parent
    script.write_text(f"import sys\nsys.path.insert(0, {str(root)!r})\n{FAKE}", encoding="utf-8")

    def make(behaviour: str) -> Peer:
        command = [sys.executable, str(script), behaviour]
        return Peer(behaviour, lambda: command, includes="all", excludes="none", scratch=tmp_path, answer_seconds=60)

    return make


class Recorded:
    """A system that notes its turns."""

    includes = excludes = ""

    def __init__(self, name: str, turns: list[str], seconds: list[float], fails_at: int | None = None) -> None:
        self.name, self.stopped = name, 0
        self._turns, self._seconds, self._fails_at, self._runs = turns, seconds, fails_at, 0

    def start(self) -> Figures:
        return {"versions": {}}

    def run(self) -> Run:
        if self._runs == self._fails_at:
            raise PeerError("lost")
        self._turns.append(self.name)
        self._runs += 1
        seconds = self._seconds[self._runs - 1]
        figures = {"seconds": seconds, "bytes_sent_per_party": 1, "peak_memory_bytes": {"all": 1}}
        return Run(figures, DUE + 0.125 * self._runs)

    def stop(self) -> None:
        self.stopped += 1


def _quiet(_: str) -> None:
    return None


def test_a_peer_answers_over_lines(fake: Callable[[str], Peer]) -> None:
    found = interleave([fake("work")], DUE, 2, _quiet)["work"]
    assert found["seconds"] == [2.0, 2.0]
    assert found["max_error"] == 0.25
    assert (found["rounds"], found["versions"]) == (4, {"fake": "1"})


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("refuse", "ValueError: no such protocol"),
        ("fail", "triples ran out"),
        ("die", "ended with status 9: a library that talks / out of memory"),
    ],
)
def test_a_failing_peer_is_reported_beside_the_others(fake: Callable[[str], Peer], behaviour: str, reason: str) -> None:
    found = interleave([fake(behaviour), fake("work")], DUE, 1, _quiet)
    assert reason in found[behaviour]["error"]
    assert "seconds" not in found[behaviour]
    assert found["work"]["median_seconds"] == 2.0


def test_a_peer_that_cannot_be_installed_is_reported(tmp_path: Path) -> None:
    nowhere = Environment("nowhere", ("spu.txt",), pythons=("2.0",))
    peer = Peer("nowhere", lambda: [str(ensure(nowhere, tmp_path))], includes="", excludes="", scratch=tmp_path)
    found = interleave([peer], DUE, 1, _quiet)
    assert "needs Python 2.0" in found["nowhere"]["error"]


def test_ours_takes_turns_with_each_peer() -> None:
    turns: list[str] = []
    ours = Recorded("ours", turns, [9.0, 1.0, 1.0, 1.0, 2.0, 2.0, 3.0])
    a, b = (Recorded(name, turns, [9.0, 3.0, 1.0, 2.0]) for name in ("a", "b"))
    found = interleave([ours, a, b], DUE, 3, _quiet)
    assert turns == ["ours", "a", *["ours", "a"] * 3, "b", *["ours", "b"] * 3]
    # The warm-up counts neither in the time nor in the error; the error is the worst of the rest.
    assert found["a"]["seconds"] == [3.0, 1.0, 2.0]
    assert found["a"]["median_seconds"] == 2.0
    assert found["a"]["max_error"] == 0.5
    assert (found["a"]["ours_seconds"], found["b"]["ours_seconds"]) == ([1.0, 1.0, 1.0], [2.0, 2.0, 3.0])
    assert found["ours"]["seconds"] == [1.0, 1.0, 1.0, 2.0, 2.0, 3.0]
    assert ratios(found) == {"a": 2.0, "b": 1.0}
    assert ours.stopped
    assert a.stopped
    assert b.stopped


def test_a_system_that_fails_midway_stops_and_the_others_go_on() -> None:
    turns: list[str] = []
    lost = Recorded("a", turns, [1.0] * 4, fails_at=2)
    found = interleave([Recorded("ours", turns, [1.0] * 4), lost], DUE, 3, _quiet)
    assert turns == ["ours", "a", "ours", "a", "ours", "ours"]
    assert found["a"]["error"] == "lost"
    assert "a" not in ratios(found)
    assert lost.stopped > 0
    assert len(found["ours"]["seconds"]) == 3


def test_ours_has_figures_when_every_peer_fails_and_peers_when_ours_fails() -> None:
    turns: list[str] = []
    found = interleave([Recorded("ours", turns, [2.0] * 3), Recorded("a", turns, [], fails_at=0)], DUE, 2, _quiet)
    assert found["ours"]["seconds"] == [2.0, 2.0]
    assert found["a"]["error"] == "lost"
    found = interleave([Recorded("ours", turns, [], fails_at=0), Recorded("a", turns, [4.0] * 3)], DUE, 2, _quiet)
    assert found["ours"]["error"] == "lost"
    assert found["a"]["seconds"] == [4.0, 4.0]
    assert ratios(found) == {}


def test_the_table_has_ratios_and_what_failed() -> None:
    figures = {
        "seconds": [4.0],
        "median_seconds": 4.0,
        "bytes_sent_per_party": 3e6,
        "messages": 12,
        "max_error": 0.5,
        "peak_memory_bytes": {"p": 10**9},
    }
    record = {
        "setting": {"model": "m", "layers": 1, "batch": 1, "tokens": 2},
        "systems": {"a": figures, "b": {"error": "no wheel"}},
        "ratios": {"a": 8.0},
    }
    shown = io.StringIO()
    Console(width=200, file=shown).print(table(record))
    text = shown.getvalue()
    assert "8.0 ×" in text
    assert "3.0" in text
    assert "failed" in text


def test_puma_gelu_is_within_its_error_of_gelu() -> None:
    x = np.linspace(-10, 10, 400_001)
    exact = torch.nn.functional.gelu(torch.from_numpy(x)).numpy()
    error = np.abs(puma.gelu(x) - exact)
    # The piece in the middle is worst at its right end, F1(3) - 3 * Phi(3) = 0.0199.
    assert error.max() < 0.02
    assert error[x < -1.95].max() < 1e-3
    assert error[x > 3].max() < 0.0041


def test_puma_exponential_is_within_its_error_of_exp() -> None:
    x = np.linspace(-20, 0, 200_001)
    error = np.abs(puma.negative_exponential(x) - np.exp(x))
    # (1 + x/n)^n is below e^x by about e^x x^2 / 2n, most at x = -2: 4 / (64 e^2).
    assert error.max() < 0.009
    assert (puma.negative_exponential(x[x <= -14]) == 0).all()
    assert np.exp(-14) < 2.0**-19


def test_puma_softmax_and_layer_norm() -> None:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(4, 16, generator=generator, dtype=torch.float64)
    softmax = puma.softmax(x.numpy(), np)
    assert np.abs(softmax.sum(-1) - 1).max() < 1e-12
    assert np.abs(softmax - torch.softmax(x, -1).numpy()).max() < 0.01
    gamma, beta = torch.randn(2, 16, generator=generator, dtype=torch.float64)
    due = torch.nn.functional.layer_norm(x, (16,), gamma, beta, 1e-12).numpy()
    norm = puma.layer_norm(x.numpy(), gamma.numpy(), beta.numpy(), 1e-12, np, lambda v: 1 / np.sqrt(v))
    assert np.abs(norm - due).max() < 1e-12


def test_the_workload_is_the_models_encoder(tmp_path: Path) -> None:
    """The arrays, put together by hand from the file, give the last hidden state."""
    torch.manual_seed(1)
    config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24)
    BertModel(config).save_pretrained(tmp_path / "model")
    work, ids, due = workload(tmp_path / "model", batch=2, tokens=5)
    work.save(tmp_path / "workload.npz")
    read = load(tmp_path / "workload.npz")
    assert ids.shape == (2, 5)
    x = torch.from_numpy(read.hidden)
    for layer in read.layers:
        p = {name: torch.from_numpy(array) for name, array in layer.items()}
        query, key, value = (
            part.reshape(2, 5, read.heads, 8).transpose(1, 2)
            for part in (x @ p["qkv.weight"] + p["qkv.bias"]).chunk(3, -1)
        )
        mixed = torch.softmax(query @ key.mT / 8**0.5, -1) @ value
        attended = mixed.transpose(1, 2).reshape(2, 5, 16) @ p["output.weight"] + p["output.bias"]
        norm = (p["attention_norm.weight"], p["attention_norm.bias"], read.epsilon)
        x = torch.nn.functional.layer_norm(x + attended, (16,), *norm)
        inner = torch.nn.functional.gelu(x @ p["up.weight"] + p["up.bias"])
        norm = (p["feedforward_norm.weight"], p["feedforward_norm.bias"], read.epsilon)
        x = torch.nn.functional.layer_norm(x + inner @ p["down.weight"] + p["down.bias"], (16,), *norm)
    assert (x - due).abs().max() < 1e-5


def test_mp_spdz_layers_get_transformers_weights_under_its_names() -> None:
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=8,
        num_attention_heads=2,
        intermediate_size=12,
        num_hidden_layers=1,
        vocab_size=5,
        max_position_embeddings=4,
    )
    layer = BertModel(config).encoder.layer[0]
    found = mp_spdz_program.state(layer_arrays(layer))
    due = layer.state_dict()
    assert found.keys() == due.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, due[name].numpy())


def test_what_mp_spdz_prints_of_its_timer() -> None:
    printed = "Time = 2.5 seconds \nTime1 = 1.25 seconds (80.5 MB, 1260 rounds)\nTime2 = 9 seconds (1 MB, 2 rounds)\n"
    assert mp_spdz_runner.timed(printed) == (1.25, 80.5e6, 1260)
    with pytest.raises(RuntimeError, match=r"printed no time: Time = 2\.5"):
        mp_spdz_runner.timed("Time = 2.5 seconds")


def test_mp_spdz_that_is_not_built_says_how(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match=r"make rep4-ring-party\.x"):
        mp_spdz(tmp_path)


def test_what_more_security_takes_stands_beside_ours() -> None:
    def taken(**figures: Any) -> Figures:
        return {"median_seconds": 4.0, "party_cpu_seconds": 3.0, "all_bytes": 2_000_000} | figures

    systems = {
        "ours": taken(),
        "ours-witnessed": taken(median_seconds=6.0, party_cpu_seconds=6.0, all_bytes=5_000_000, ours_seconds=[4.0]),
        "crypten": {"median_seconds": 9.0, "ours_seconds": [3.0]},
        "failed": {"error": "no"},
    }
    (line,) = beside_ours(systems)
    assert line.startswith("ours-witnessed beside ours: 1.50 times the seconds, 2.00 times the processor time")
    assert "(6.00 s), 2.50 times all bytes" in line and line.endswith("(5.0 MB)")
