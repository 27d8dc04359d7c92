"""Records of the red team and of exactness as tables and plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bench import plots
from bench.attack import record, suite, table, verdict
from bench.attack.suite import Effort
from bench.attack.view import World
from bench.attack.world import loss
from bench.ee import table as ee_table
from secure.protocols.core.errors import ConfigurationError

EFFORT = Effort(keys=1, budgets=(200,), judged=40, sessions=2, length=6, sweep=(0.1,), only=("A1", "A7", "A9"))


@pytest.mark.slow
def test_the_suite_fills_every_cell_and_is_drawn(world: World, tmp_path: Path) -> None:
    torch.manual_seed(0)
    said: list[str] = []
    rows = suite.run(world, ("permutation", "full", "noise", "finetuned", "split"), EFFORT, said.append)
    found = verdict.verdicts(rows)
    assert {found["T2"][name]["status"] for name in found["T2"]} == {"broken"}
    assert any("chance" in line for line in said)
    made: dict[str, Any] = {
        "kind": "attack",
        "command": "python -m bench attack",
        "setting": {"keys": 1},
        "threshold": verdict.THRESHOLD,
        "loss": {"base": loss(world, world.base, world.traffic)},
        "rows": rows,
        "sweep": suite.sweep(world, EFFORT, said.append),
        "other_text": suite.other_text(world, EFFORT),
        "verdicts": found,
    }
    shown = table.verdicts(made)
    assert "T2" in shown and ", chance " in shown
    assert "A11" in table.attacks(made)
    names = [path.name for path in plots.draw([made], tmp_path)]
    assert names == ["attack-recovery.svg", "attack-traffic.svg", "attack-noise.svg"]


def test_only_what_is_asked_for_runs(world: World) -> None:
    rows = suite.run(world, ("full",), Effort(keys=1, judged=10, only=("A5",)), lambda _: None)
    assert {(row["attack"], row["tier"]) for row in rows} == {("A5", "T1"), ("A5", "T2")}


def record_of(number: str, command: str, loss: float = 1.9, **setting: int) -> dict[str, Any]:
    rows = [
        {"attack": number, "tier": "T1", "configuration": name, "tokens": 0, "recovery": 0.5}
        for name in ("full", "split")
    ]
    told = {"date": "d", "command": command, "commit": "0123456789ab", "machine": {"processor": "p"}, "versions": {}}
    setting = {"keys": 3, "only": number, **setting}  # type: ignore[dict-item]
    return told | {"setting": setting, "model": {}, "threshold": "t", "loss": {"base": loss}, "rows": rows}


def test_attacks_are_added_to_an_earlier_run() -> None:
    """Each row keeps the run that it is of, and a later run of an attack takes the place of the earlier one's."""
    whole, later = record_of("A4", "whole"), record_of("A12", "later", loss=1.91, leaks=1)
    both = record.merged(whole, later)
    assert [(row["configuration"], row["attack"], row["run"]) for row in both["rows"]] == [
        *(("full", "A4", 0), ("full", "A12", 1)),
        *(("split", "A4", 0), ("split", "A12", 1)),
    ]
    assert [run["command"] for run in both["runs"]] == ["whole", "later"]
    assert both["command"] == "whole"
    again = record.merged(both, record_of("A12", "again"))
    assert [row["run"] for row in again["rows"]] == [0, 2, 0, 2]
    said = record.said_of_runs(again)
    assert "- A4: `whole` at 012345678, p; losses base 1.900" in said
    assert "`again`" in said and "`later`" not in said
    assert record.said_of_runs(whole) == ""


@pytest.mark.parametrize(
    ("later", "message"),
    [(record_of("A12", "later", keys=1), "another setting"), (record_of("A12", "later", loss=2.0), "another model")],
)
def test_what_cannot_stand_beside_an_earlier_run_is_not_added(later: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        record.merged(record_of("A4", "whole"), later)


def test_exactness_is_a_table() -> None:
    agree = {"tokens": 1.0, "interval": [0.99, 1.0], "sequences": 1.0}
    made: dict[str, Any] = {
        "command": "python -m bench ee",
        "greedy": {
            "prompts": 1000,
            "new_tokens": 32,
            "float32": agree,
            "bfloat16 plain with float32": agree,
            "bfloat16 encrypted with float32": agree,
            "bfloat16 difference": {"mean": 0.0, "interval": [-0.001, 0.001]},
        },
        "embeddings": {"one_minus_smallest": 2e-13},
        "throughput": {"interval": (0.98, 1.02), "encrypted_over_plain": 1.0, "pairs": 20},
        "wire": {"bytes_per_token": 4.0, "bytes_per_token_back": 4.0, "bytes_per_token_streamed": 6},
        "differences": [{"shape": "bert-base", "parameters": 109_482_240, "float64": 1e-15, "float32": 3e-7}],
        "transform": {"parameters": 1_235_814_400, "seconds": 61.8, "parameters_per_second": 2e7},
    }
    text = ee_table.summary(made)
    assert "100.00% of 1,000 prompts" in text
    assert "1.24e9 parameters: 62 s" in text
    assert "| bert-base | 109,482,240 | 1.0e-15 | 3.0e-07 |" in text
