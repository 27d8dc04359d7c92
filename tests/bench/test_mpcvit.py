"""The teacher and the data of the record of MPCViT, on images of nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from transformers import ViTConfig
from typer.testing import CliRunner

from bench import plots, results
from bench.data import fashion_mnist
from bench.data.fashion_mnist import FashionMnist, Part
from bench.mpcvit import command, seconds, shapes, table, teacher
from bench.mpcvit.campaign import Campaign, Setting
from bench.mpcvit.plans import BASELINES, baseline, chosen
from bench.mpcvit.teacher import config_of
from secure.models.latency import NETWORKS
from secure.protocols.core.errors import ConfigurationError
from secure.search.front import Candidate, Front
from secure.search.space import AttentionPlan
from secure.search.teacher import read_teacher
from tests.bench.test_report import rows


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> FashionMnist:
    generator = torch.Generator().manual_seed(0)

    def part(count: int) -> Part:
        return Part(torch.randn(count, 1, 28, 28, generator=generator), torch.arange(count) % 10)

    found = FashionMnist(part(40), part(10), part(20))
    monkeypatch.setattr(fashion_mnist, "load", lambda: found)
    return found


def test_the_data_is_what_a_search_reads(images: FashionMnist, tmp_path: Path) -> None:
    done = CliRunner().invoke(command.app, ["data", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    with np.load(tmp_path / "train.npz") as file:
        assert np.array_equal(file["inputs"], images.train.images.numpy())
        assert np.array_equal(file["labels"], images.train.labels.numpy())


def test_a_teacher_is_a_checkpoint_that_a_search_takes(images: FashionMnist, tmp_path: Path) -> None:
    done = CliRunner().invoke(command.app, ["teacher", "--out", str(tmp_path), "--epochs", "1"])
    assert done.exit_code == 0, done.output
    found = read_teacher(tmp_path / "teacher-17-0")
    assert (found.config.layers, found.config.heads, found.config.images.patches) == (4, 4, 16)


def test_other_numbers_of_tokens_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="30 tokens; an image of 28 pixels has 17 or 50"):
        config_of(30)


PLAN = AttentionPlan((("softmax", "softmax"),) * 2, ("gelu", "gelu"))
TRY = ["--seeds", "1", "--teacher-epochs", "1", "--search-epochs", "1", "--epochs", "1", "--children", "0"]


def candidate(plan: AttentionPlan, relative: float, divergence: float) -> Candidate:
    return Candidate(plan, relative, relative, 1, 1, 1, divergence, 0.5)


def test_budgets_add_the_plans_of_a_front_that_no_baseline_is() -> None:
    mixed = PLAN.with_layer(0, ("scale", "scale"), "gelu")
    front = Front([candidate(PLAN, 1.0, 0.0), candidate(mixed, 0.7, 0.1)], {})
    found = chosen(front, PLAN)
    # At 0.8 it is the same plan, and nothing takes 0.65.
    assert list(found) == ["softmax", "found-0.90", *list(BASELINES)[1:]]
    assert found["found-0.90"] == mixed
    assert found["softmax"] == PLAN
    assert str(baseline("the-x", PLAN)) == "relu relu"
    assert baseline("the-x", PLAN).activations == ("relu", "relu")


@pytest.fixture
def small(images: FashionMnist, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """One layer, and results in a folder of the test's own."""

    def config(tokens: int) -> ViTConfig:
        found = config_of(tokens)
        found.hidden_size, found.num_hidden_layers, found.num_attention_heads, found.intermediate_size = 16, 1, 2, 16
        return found

    monkeypatch.setattr(teacher, "config_of", config)
    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    return tmp_path


def run(*arguments: str) -> str:
    done = CliRunner().invoke(command.app, arguments)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_campaign_is_resumed_and_its_record_shown(small: Path) -> None:
    out = ["--out", str(small)]
    run(*out, *TRY, "--images", "2")
    path = small / "results" / "mpcvit-fashion-17.json"
    first = json.loads(path.read_text())
    assert (first["kind"], first["seeds"]) == ("mpcvit", [0])
    names = [plan["name"] for plan in first["plans"]]
    assert set(BASELINES) <= set(names)
    for plan in first["plans"]:
        assert set(plan["predicted"]) == set(seconds.PROTOCOLS)
        assert set(plan["predicted"]["beaver"]["seconds"]) == set(NETWORKS)
        assert plan["agreement"]["beaver"]["images"] == 2
        assert plan["agreement"]["beaver"]["largest_difference"] < 0.05
        assert 0 <= plan["accuracy"]["0"] <= 1
    begun = Campaign.kept(small, 17)
    again = begun.student(0, "relu").with_name("relu.json")
    kept = {path: path.stat().st_mtime_ns for path in begun.folder.rglob("*/*.json") if path != again}
    again.unlink()  # as if it had been stopped there
    assert "seed 0: relu" in run(*out, *TRY)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    second = json.loads(path.read_text())
    assert [plan["accuracy"] for plan in second["plans"]] == [plan["accuracy"] for plan in first["plans"]]
    with pytest.raises(ConfigurationError, match="another setting"):
        Campaign.begin(small, Setting(17, 2, 1, 1, 0))
    assert {cell[0].split(":")[0] for cell in rows(table.fronts([second]).split("###")[1])} == set(names)
    assert (small / "plots" / "mpcvit-17.svg") in plots.draw([second], small / "plots")


def test_no_campaign_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nothing of 50 tokens was begun"):
        Campaign.kept(tmp_path, 50)


def test_measured_seconds_stand_beside_predicted_ones() -> None:
    def plan(name: str, wan: float) -> dict[str, Any]:
        price = {"rounds": 7, "online_bytes": 2e6, "dealer_bytes": 1e6, "seconds": {"wan": wan, "lan": wan / 10}}
        return {
            "name": name,
            "plan": f"{name} {name}",
            "accuracy": {"0": 0.8, "1": 0.9},
            "predicted": {"beaver": price},
            "measured": {"beaver": {"wan": {"seconds": [wan], "median_seconds": wan + 0.5}}},
            "agreement": {"beaver": {"images": 2000, "agree": 1999}},
        }

    record = {
        "command": "python -m bench mpcvit",
        "data": "images",
        "seeds": [0, 1],
        "setting": {"tokens": 17, "teacher_epochs": 1, "search_epochs": 1, "epochs": 1},
        "teachers": {"0": {"accuracy": 0.9}, "1": {"accuracy": 0.91}},
        "plans": [plan("scale", 2.0), plan("softmax", 4.0)],
    }
    first, second = rows(table.fronts([record]))
    assert first[:3] == ["softmax: softmax everywhere", "85.00% (80.00% to 90.00%)", "1,999 of 2,000"]
    assert second[3:] == ["7", "2.00", "1.00", "2.00 s (0.50), 2.50 s (0.56)", "0.20 s (0.50), not measured"]
    assert table.fronts([]) == ""


def test_shapes_are_the_papers_and_priced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shapes, "PLANS", ("softmax", "scale"))
    made = {name: shapes.checkpoints(name, tmp_path) for name in ("cifar",)}
    config = read_teacher(made["cifar"]["scale"]).config
    assert (config.images.patches + 1, config.width, config.layers, config.heads) == (65, 256, 7, 4)
    assert shapes.tokens("tiny") == 257
    runs = {"softmax": {"median_seconds": 8.0}, "scale": {"median_seconds": 4.0}}
    (tmp_path / "cifar-beaver-wan.json").write_text(json.dumps({"plans": runs}))
    record = {"command": "python -m bench mpcvit shapes"} | shapes.record(made, tmp_path)
    found = rows(table.shapes([record]).split("###")[1])
    assert found[1][0] == "scale: scale everywhere"
    assert found[1][-2].endswith("4.00 s (2.0 ×)")
    assert found[1][-1] == "45 s"
    prices = record["shapes"]["cifar"]["protocols"]["beaver"]["plans"]
    assert prices["scale"]["rounds"] < prices["softmax"]["rounds"]


@pytest.mark.slow
def test_processes_answer_for_every_plan(small: Path) -> None:
    run("--out", str(small), *TRY, "--images", "2")
    begun = Campaign.kept(small, 17)
    checkpoints = {name: begun.student(0, name) for name in ("softmax", "scale")}
    found = seconds.measure(checkpoints, "beaver", "loopback", torch.zeros(1, 28, 28), 2, Console())
    assert [len(part["seconds"]) for part in found["plans"].values()] == [2, 2]
    assert found["network"] == {"name": "loopback"}
