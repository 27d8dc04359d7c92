"""The measurement of a verifier: data, one small run, its table."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest
import torch

from bench import results
from bench.data import fashion_mnist as reader
from bench.data.labelled import SECTIONS, Labelled, fashion_mnist, package_descriptions
from bench.verifier import command
from bench.verifier.kept import KeptRun, measured_with
from bench.verifier.services import KINDS, Kind, Texts, served
from bench.verifier.table import found
from secure.protocols.core.errors import ConfigurationError
from secure.verifier.verifier import Verifier
from tests.bench.records import verifier_record
from tests.bench.test_report import rows
from tests.secure.verifier.conftest import CLASSES, WIDTH, points, service

RECORDS = [record for record in results.load_all() if record["kind"] == "verifier"]
CHANGES = ("another class, peaked", "another class, the same values", "another class, one logit raised")


@pytest.mark.slow
def test_one_run_has_every_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = Verifier.distil(service, points(90, 3), false_alarms=0.2, steps=20)
    asked = points(500, 8)
    labelled = Labelled(asked, service(asked).argmax(-1), "points", "0")
    monkeypatch.setattr(command, "ALL", ())
    monkeypatch.setattr(command.Verifier, "distil", lambda *_, **__: verifier)
    model = lambda: torch.nn.Linear(WIDTH, CLASSES)  # noqa: E731
    ran = command.run(Kind(lambda: labelled, 200, 100, 150, model, model, 200, 1, 0), labelled, 0)
    assert set(command._FIGURES) < set(ran) and ran["service_weights"] == CLASSES * (WIDTH + 1)
    assert ran["service_accuracy"] > 0.7 and ran["service_microseconds"] > 0 < ran["verifier_microseconds"]
    assert list(ran["attacks"]) == [
        *(f"weights of {n} bits" for n in (8, 4, 3)),
        "60 % of the weights pruned",
        "a smaller model",
    ]
    assert ran["attacks"]["weights of 8 bits"]["changed"] < 0.1 < ran["attacks"]["a smaller model"]["differs"]


def test_means_leave_out_what_no_seed_has() -> None:
    assert command.spread([0.5, None, 1.0]) == {"mean": 0.75, "least": 0.5, "most": 1.0}
    assert command.spread([None]) is None


def test_a_finished_seed_counts_as_long_as_it_was_measured_with_the_same(tmp_path: Path) -> None:
    labelled = Labelled(["a"], torch.zeros(1), "texts", "digest")
    same = measured_with(labelled)
    assert measured_with(dataclasses.replace(labelled, digest="other")) != same == measured_with(labelled)
    kept = KeptRun(tmp_path / "new", "texts", 3, same)
    assert kept.read() is None
    kept.write({"agreement": 0.5})
    assert kept.read() == {"agreement": 0.5}
    assert dataclasses.replace(kept, seed=4).read() is None
    assert dataclasses.replace(kept, measured_with="other").read() is None


def test_an_interrupted_measurement_goes_on_with_the_seeds_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    figures = dict.fromkeys(command._FIGURES, 0.5) | {"shown": "", "attacks": {"it": dict.fromkeys(command._SHARES, 0)}}

    def run(_: Kind, __: Labelled, seed: int) -> results.Any:
        asked.append(seed)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return figures | {"agreement": float(seed)}

    labelled = Labelled(["a"], torch.zeros(1), "texts", "digest")
    monkeypatch.setitem(KINDS, "texts", dataclasses.replace(KINDS["texts"], data=lambda: labelled))
    monkeypatch.setattr(command, "run", run)
    monkeypatch.setattr(command, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        command.verifier("texts", 3)
    assert not list(tmp_path.glob("*.json"))
    command.verifier("texts", 3)
    assert asked == [0, 1, 1, 2]
    assert results.load("verifier-texts")["figures"]["agreement"] == {"mean": 1.0, "least": 0.0, "most": 2.0}


def test_pictures_are_those_for_training(fashion_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "VALIDATION", 4)
    read = fashion_mnist([fashion_folder])
    assert isinstance(read.inputs, torch.Tensor) and read.inputs.shape == (8, 1, 28, 28)
    assert read.labels.tolist() == list(range(8))
    with pytest.raises(ConfigurationError, match="apt-get download"):
        fashion_mnist([fashion_folder / "missing"])


def test_descriptions_of_packages_with_and_without_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    packages = [(f"p{n}", f"does {n} of things", SECTIONS[n % 10]) for n in range(6000)]
    packages += [
        ("twice", "does 7 of things", SECTIONS[7]),
        ("both", "does 8 of things", SECTIONS[9]),
        ("p", "x", "net"),
    ]
    listed = "\n\n".join(f"Package: {name}\nDescription: {text}\nSection: {where}" for name, text, where in packages)
    done = subprocess.CompletedProcess([], 0, stdout=listed)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    plain, named = package_descriptions(), package_descriptions(named=True)
    assert len(plain.inputs) == len(named.inputs) == 5999, "one description has two sections"
    assert torch.equal(plain.labels, named.labels) and plain.digest != named.digest
    for both in zip(named.inputs, plain.inputs, plain.labels.tolist(), strict=True):
        name, text, section = both
        number = text.split()[1]
        assert name == f"p{number} - {text}" and section == int(number) % 10


def test_a_service_of_texts_answers_with_probabilities() -> None:
    answers = served(Texts(64, 4, 10))(["a text"] * 130)
    assert answers.shape == (130, 10) and torch.allclose(answers.sum(-1), torch.ones(130))


def test_every_figure_is_in_the_tables() -> None:
    text = found([verifier_record()])
    setting, attacks = (rows(part) for part in text.split("\n\n") if part.startswith("|"))
    share = "25.0% (20.0% to 30.0%)"
    sizes, run = ["500, 1,900, 397", "1,234, 1,234"], "`python -m bench verifier …`"
    assert setting == [["Example digits, 5 seeds", *sizes, share, share, share, "1,234, 1,234", run]]
    assert attacks == [["knows it", *[share] * 5], ["eight bits", share, share, share, "", share]]
    assert found([]) == ""


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record["data"])
def test_what_is_committed_is_of_verifiers_that_are_small_enough(record: results.Any) -> None:
    assert record["data"] in KINDS and record["seeds"] >= 2
    weights = {whose: record["figures"][f"{whose}_weights"]["most"] for whose in ("service", "verifier")}
    assert weights["verifier"] * command.SMALLER <= weights["service"]


@pytest.mark.parametrize("data", ["digits", "fashion-mnist"])
def test_pictures_reach_what_was_aimed_at(data: str) -> None:
    """The targets: 98 % of changed classes found, 96 % told right, in the mean of the changes."""
    (record,) = (record for record in RECORDS if record["data"] == data)
    changes = [row for row in record["attacks"] if row["name"] in CHANGES]
    assert len(changes) == 3
    assert sum(row["found"]["mean"] for row in changes) / 3 >= 0.98
    assert sum(row["reclassified"]["mean"] for row in changes) / 3 >= 0.96
