"""A search and a distillation from end to end, on digits."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import secure
from secure.cli.main import app
from secure.models.checkpoint.conversion import read_checkpoint
from secure.models.checkpoint.shapes import manifest_of_folder
from secure.models.contract.request import Request
from secure.models.latency import NETWORKS, predict
from secure.models.price import price
from secure.protocols.core.errors import CheckpointError, InputError
from secure.search import AttentionPlan, Front, distil, search
from secure.search.plan_costs import PlanCosts
from secure.search.plot import draw
from secure.search.teacher import read_teacher
from tests.families import FAMILIES
from tests.models.runs import clear_run, secure_run
from tests.secure.search.digits import digits, save_teacher

EXAMPLES = tuple(part[:600] for part in digits())
QUICK: dict[str, Any] = {"epochs": 2, "children": 20, "seed": 3}


def say_nothing(line: str) -> None:
    """Nobody listens."""


class Interrupted(Exception):
    """Whoever stops a run."""


def stopping_at(text: str) -> Any:
    def say(line: str) -> None:
        if text in line:
            raise Interrupted

    return say


@pytest.fixture(scope="module")
def found(teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Front]:
    out = tmp_path_factory.mktemp("found")
    return out, search(teacher, EXAMPLES, out=out, network="wan", say=say_nothing, **QUICK)


@pytest.mark.slow
def test_every_plan_of_the_front_has_its_own_price(found: tuple[Path, Front], teacher: Path, tmp_path: Path) -> None:
    _, front = found
    raw = json.loads((teacher / "config.json").read_text())
    first = front.candidates[0]
    assert first.plan == read_teacher(teacher).plan and first.relative_seconds == 1
    for each in (first, front.candidates[len(front.candidates) // 2], front.candidates[-1]):
        (tmp_path / "config.json").write_text(json.dumps(raw | each.plan.fields))
        due = price(manifest_of_folder(tmp_path), Request("logits", 1, 4, masked=False))
        assert (each.rounds, each.online_bytes) == (due.total.rounds, due.total.online_bytes)
        assert each.seconds == pytest.approx(predict(due, NETWORKS["wan"]).total)


def test_cheaper_plans_are_farther_from_the_teacher_and_every_budget_is_met(found: tuple[Path, Front]) -> None:
    _, front = found
    seconds = [each.seconds for each in front.candidates]
    divergences = [each.divergence for each in front.candidates]
    assert seconds == sorted(seconds, reverse=True) and divergences == sorted(divergences)
    assert len(seconds) > 3 and front.candidates[-1].relative_seconds < 0.7
    for budget in (1.0, 0.9, 0.75):
        plan = front.within(budget)
        (chosen,) = (each for each in front.candidates if each.plan == plan)
        assert chosen.relative_seconds <= budget
    with pytest.raises(InputError, match=r"no plan takes 0\.01 .* the cheapest takes 0\.\d\d"):
        front.within(0.01)


def test_a_search_that_was_stopped_ends_as_one_that_was_not(
    found: tuple[Path, Front], teacher: Path, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        search(teacher, EXAMPLES, out=tmp_path, network="wan", say=stopping_at("epoch 1"), **QUICK)
    lines: list[str] = []
    front = search(teacher, EXAMPLES, out=tmp_path, network="wan", say=lines.append, **QUICK)
    assert any("resumed after epoch 1 of 2" in line for line in lines)
    assert (tmp_path / "pareto.json").read_bytes() == (found[0] / "pareto.json").read_bytes()
    weights = [load_file(folder / "supernet.safetensors") for folder in (tmp_path, found[0])]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[1])
    assert Front.read(tmp_path / "pareto.json").candidates == front.candidates


def test_another_network_trains_and_tries_nothing_twice(found: tuple[Path, Front], teacher: Path) -> None:
    out, front = found
    before, lines = (out / "supernet.safetensors").stat().st_mtime_ns, list[str]()
    kept = (out / "pareto.json").read_bytes()
    near = search(teacher, EXAMPLES, out=out, network="loopback", protocol="replicated", say=lines.append, **QUICK)
    assert (out / "supernet.safetensors").stat().st_mtime_ns == before
    assert not any(line.startswith("epoch") for line in lines)
    assert near.candidates[0].seconds < front.candidates[0].seconds
    (out / "pareto.json").write_bytes(kept)


def test_the_plot_has_a_dot_for_each_plan(found: tuple[Path, Front], tmp_path: Path) -> None:
    _, front = found
    root = xml.etree.ElementTree.parse(draw(front, tmp_path)).getroot()
    titles = [circle[0].text for circle in root.iter("{http://www.w3.org/2000/svg}circle")]
    assert len(titles) == len(front.candidates) > 0


@pytest.mark.parametrize("protocol", [family.name for family in FAMILIES])
def test_a_sum_over_layers_is_what_a_plan_costs(protocol: str, teacher: Path) -> None:
    loaded = read_teacher(teacher)
    for network in (NETWORKS["wan"], NETWORKS["loopback"]):
        costs = PlanCosts(loaded.raw, loaded.plan, network, protocol, "private")
        for kinds in (("scale", "relu"), ("square", "square"), ("softmax", "scale")):
            plan = AttentionPlan((kinds, kinds[::-1]), ("none", "gelu"))
            assert costs.seconds(plan) == pytest.approx(costs.exact_seconds(plan), rel=0.03)


def test_a_student_is_a_checkpoint_that_parties_serve(teacher: Path, tmp_path: Path) -> None:
    norms = (("affine", "layer"), ("affine", "affine"))
    plan = AttentionPlan((("scale", "scale"), ("square", "softmax")), ("none", "gelu"), norms)
    with pytest.raises(Interrupted):
        distil(teacher, plan, EXAMPLES, out=tmp_path / "student", epochs=2, say=stopping_at("epoch 1"))
    assert not (tmp_path / "student").exists() and (tmp_path / "student.training.safetensors").exists()
    accuracy = distil(teacher, plan, EXAMPLES, out=tmp_path / "student", epochs=2, say=say_nothing)
    whole = distil(teacher, plan, EXAMPLES, out=tmp_path / "whole", epochs=2, say=say_nothing)
    assert accuracy == whole
    student, other = (load_file(tmp_path / name / "model.safetensors") for name in ("student", "whole"))
    assert all(student[name].equal(other[name]) for name in other), "one that was stopped ends as one that was not"
    assert not list(tmp_path.glob("*.training.*"))
    images = EXAMPLES[0][:2]
    with torch.inference_mode():
        due = secure.reference(tmp_path / "student")(pixel_values=images).logits
    checkpoint = read_checkpoint(tmp_path / "student")
    clear = clear_run(checkpoint, "logits", {"pixel_values": images})["logits"]
    assert float((clear - due).abs().max()) < 5e-3


def test_what_does_not_fit_is_refused(found: tuple[Path, Front], teacher: Path, tmp_path: Path) -> None:
    images, labels = EXAMPLES
    with pytest.raises(InputError, match=r"this model takes \[N, 1, 8, 8\]"):
        search(teacher, (images[:, :, :4], labels), out=tmp_path, say=say_nothing)
    with pytest.raises(InputError, match="labels are 5 to 14; this model has 10"):
        search(teacher, (images, labels + 5), out=tmp_path, say=say_nothing)
    with pytest.raises(CheckpointError, match=r"is of another schedule"):
        search(teacher, EXAMPLES, out=found[0], say=say_nothing, **QUICK | {"epochs": 3})
    with pytest.raises(CheckpointError, match="of another teacher, or of other data"):
        search(teacher, (images, labels.flip(0)), out=found[0], say=say_nothing, **QUICK)
    with pytest.raises(CheckpointError, match="attention_kinds is a list of 1"):
        distil(teacher, AttentionPlan((("scale", "scale"),), ("none",)), EXAMPLES, out=tmp_path / "x", say=say_nothing)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(CheckpointError, match="model_type is 'gpt2'; a search is for 'vit', 'mpc_vit', 'bert', 'mpc_b"):
        search(tmp_path, EXAMPLES, out=tmp_path, say=say_nothing)
    (tmp_path / "pareto.json").write_text('{"schema": 1}')
    with pytest.raises(CheckpointError, match="cannot be read as plans"):
        Front.read(tmp_path / "pareto.json")


def test_what_was_tried_with_other_weights_does_not_count(
    found: tuple[Path, Front], teacher: Path, tmp_path: Path
) -> None:
    shutil.copy(found[0] / "supernet.safetensors", tmp_path)
    (tmp_path / "tried.json").write_text('{"of": "others", "plans": {"what": 3}}')
    front = search(teacher, EXAMPLES, out=tmp_path, network="wan", say=say_nothing, **QUICK)
    assert front.candidates == found[1].candidates
    (tmp_path / "tried.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"tried\.json cannot be read: KeyError; remove it"):
        search(teacher, EXAMPLES, out=tmp_path, network="wan", say=say_nothing, **QUICK)


def test_the_commands(found: tuple[Path, Front], teacher: Path, tmp_path: Path) -> None:
    data, out = tmp_path / "digits.npz", tmp_path / "out"
    np.savez(data, inputs=EXAMPLES[0][:200].numpy(), labels=EXAMPLES[1][:200].numpy())
    common = [str(teacher), "--data", str(data), "--epochs", "1"]
    done = CliRunner().invoke(app, ["search", *common, "--network", "wan", "--children", "3", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "softmax softmax" in done.output and (out / "pareto.svg").is_file()
    student = tmp_path / "student"
    plan = ["--plan", str(out / "pareto.json"), "--budget", "0.8"]
    done = CliRunner().invoke(app, ["distil", *common, *plan, "--out", str(student)])
    assert done.exit_code == 0, done.output
    due = Front.read(out / "pareto.json").within(0.8)
    assert AttentionPlan.from_fields(json.loads((student / "config.json").read_text())) == due


@pytest.mark.slow
def test_a_student_is_nearly_as_good_as_its_teacher_and_private_predictions_agree(tmp_path: Path) -> None:
    folder = save_teacher(tmp_path / "teacher", steps=600)
    images, labels = digits()
    front = search(folder, (images[:1500], labels[:1500]), out=tmp_path / "found", network="wan", say=say_nothing)
    plan = front.within(0.8)
    distil(folder, plan, (images[:1500], labels[:1500]), out=tmp_path / "student", say=say_nothing)
    tests, due = images[1500:], labels[1500:]
    found = {}
    for name, model in (("student", secure.reference(tmp_path / "student")), ("teacher", read_teacher(folder).model())):
        with torch.inference_mode():
            found[name] = model(pixel_values=tests).logits.argmax(-1)
    right = {name: float((said == due).double().mean()) for name, said in found.items()}
    assert right["student"] >= right["teacher"] - 0.02
    checkpoint = read_checkpoint(tmp_path / "student")
    for family in FAMILIES:
        private = secure_run(checkpoint, tmp_path / family.name, "logits", {"pixel_values": tests[:100]}, family)
        assert int((private["logits"].argmax(-1) == found["student"][:100]).sum()) >= 99
