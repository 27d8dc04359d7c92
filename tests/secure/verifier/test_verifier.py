"""A verifier of a service that answers by a formula: what it says of honest, changed and broken answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import secure
from secure.protocols.core.errors import CheckpointError, InputError, UnlikelyAnswer
from secure.verifier.attacks import CLASS_CHANGES, Knowing
from secure.verifier.verifier import Verifier
from tests.secure.verifier.conftest import CLASSES, WIDTH, points, service

FRESH = points(400, 2)


def spoilt(asked: Tensor) -> Tensor:
    """A service that names another class for every second input."""
    answers = service(asked)
    answers[::2] = answers[::2].roll(1, -1)
    return answers


@pytest.mark.slow
def test_it_finds_changed_classes_and_says_what_it_misses(verifier: Verifier) -> None:
    measured = verifier.measure(service, FRESH, attacks=[*CLASS_CHANGES, Knowing(40)])
    # A rate of 5 % with 150 held-out and 400 fresh answers varies by 2.1 % (one standard deviation).
    assert measured.inputs == 400 and 0 < measured.false_alarms < 0.05 + 3 * 0.021
    *changes, knowing = measured.attacks
    assert [row.name for row in changes] == [attack.name for attack in CLASS_CHANGES]
    for row in changes:
        assert row.changed == 1 and row.found > 0.85 and row.found + row.unseen == pytest.approx(1)
        assert row.reclassified is not None and row.reclassified > 0.85
    assert knowing.unseen > max(row.unseen for row in changes), "who knows the threshold gets more past it"
    text = str(measured)
    assert f"{knowing.unseen:.1%}" in text and f"{measured.false_alarms:.1%} false alarms" in text


def test_answers_are_flagged_refused_or_escalated(verifier: Verifier) -> None:
    verdicts = verifier(spoilt, FRESH)
    truth = service(FRESH).argmax(-1).tolist()
    assert [verdict.label for verdict in verdicts[1::2]] == truth[1::2]
    alarms = [row for row, verdict in enumerate(verdicts) if verdict.alarm]
    assert sum(row % 2 == 0 for row in alarms) > 0.85 * 200 > 5 * sum(row % 2 for row in alarms)
    assert all((verdict.score > verifier.threshold) == verdict.alarm for verdict in verdicts)
    with pytest.raises(
        UnlikelyAnswer, match=f"{len(alarms)} of 400 answers .* to inputs {alarms[0]}, {alarms[1]}, .*…"
    ):
        verifier(spoilt, FRESH, on_alarm="raise")
    questions: list[Tensor] = []

    def trusted(asked: Tensor) -> Tensor:
        questions.append(asked)
        return service(asked)

    escalated = verifier(spoilt, FRESH, on_alarm=trusted)
    assert len(questions) == 1 and torch.equal(questions[0], FRESH[alarms])
    assert [row for row, verdict in enumerate(escalated) if verdict.escalated] == alarms
    assert all(escalated[row].label == truth[row] for row in alarms)
    honest = verifier.judge(FRESH, service(FRESH))
    quiet = FRESH[[row for row, verdict in enumerate(honest) if not verdict.alarm]]
    assert len(verifier(service, quiet, on_alarm="raise")) == len(quiet)


@pytest.mark.parametrize(
    "broken",
    [
        lambda answers: answers * 2,
        lambda answers: answers.fill_(torch.nan),
        lambda answers: answers - 1,
        lambda answers: answers[:, :-1],
        lambda answers: answers[:-1],
        lambda _: [[0.5, 0.5], [1.0]],
        lambda _: "yes",
    ],
    ids=["sum 2", "no numbers", "negative", "too few classes", "too few rows", "ragged", "text"],
)
def test_what_is_no_answer_is_an_alarm(verifier: Verifier, broken: Any) -> None:
    verdicts = verifier(lambda asked: broken(service(asked)), FRESH[:20])
    assert all(verdict.alarm and verdict.label == -1 and verdict.score == torch.inf for verdict in verdicts)
    right = torch.tensor([verdict.own_label for verdict in verdicts]) == service(FRESH[:20]).argmax(-1)
    assert float(right.double().mean()) > 0.8


def test_saved_and_loaded_it_says_the_same_and_is_its_owners_alone(verifier: Verifier, tmp_path: Path) -> None:
    folder = tmp_path / "kept" / "verifier"
    verifier.save(folder)
    again = secure.Verifier.load(folder)
    assert again(spoilt, FRESH) == verifier(spoilt, FRESH)
    assert (again.weights, again.false_alarms) == (verifier.weights, 0.05)
    files = sorted(folder.iterdir())
    assert [path.name for path in files] == ["verifier.json", "verifier.safetensors"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)
    with pytest.raises(InputError, match="has files already"):
        verifier.save(folder)
    settings = json.loads(files[0].read_text())
    for change, said in (
        ({"format": 2}, "format 2; this version reads 1"),
        ({"student": settings["student"] | {"hidden": 3}}, "RuntimeError"),
        ({"student": {}}, "KeyError"),
        ({"threshold": None}, "TypeError"),
    ):
        files[0].write_text(json.dumps(settings | change))
        with pytest.raises(CheckpointError, match=said):
            Verifier.load(folder)
    with pytest.raises(CheckpointError, match="FileNotFoundError"):
        Verifier.load(tmp_path / "nowhere")


def test_a_seed_fixes_it_and_nobody_elses_randomness_moves() -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    first, same, other = (
        Verifier.distil(service, points(90, 3), false_alarms=0.2, steps=20, seed=seed)(service, FRESH[:9])
        for seed in (0, 0, 1)
    )
    assert first == same != other
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_cannot_be_made_is_refused_by_its_reason(verifier: Verifier) -> None:
    calls: list[int] = []

    def counted(asked: Tensor) -> Tensor:
        calls.append(len(asked))
        return service(asked)

    with pytest.raises(InputError, match=r"0.01 false alarms take 99 held-out answers, .* there are 75"):
        Verifier.distil(counted, points(300, 3))
    assert calls == [75], "no more is asked than tells that it is in vain"
    for given, options, said in (
        (points(100, 3), {"false_alarms": 1.5}, "between 0 and 1"),
        (points(2, 3), {}, "too few for three parts"),
        (points(100, 3), {"false_alarms": 0.2, "weights": 710}, "weights for its network or more"),
        (["a", "b"], {}, "too few for three parts"),
    ):
        with pytest.raises(InputError, match=said):
            Verifier.distil(service, given, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not probabilities"):
        Verifier.distil(lambda asked: service(asked).log(), points(100, 3), false_alarms=0.2)
    with pytest.raises(InputError, match="row of probabilities for each input"):
        Verifier.distil(lambda asked: service(asked)[0], points(100, 3), false_alarms=0.2)
    for wrong in (FRESH[:, 1:], ["text"]):
        with pytest.raises(InputError, match=rf"made for inputs of shape \[{WIDTH}\]"):
            verifier(service, wrong)
    with pytest.raises(InputError, match="knows 2 classes, this verifier 4"):
        verifier.measure(lambda asked: torch.full((len(asked), 2), 0.5), FRESH)
    with pytest.raises(InputError, match='"flag", "raise", or a service'):
        verifier(spoilt, FRESH, on_alarm="ignore")  # type: ignore[arg-type]


def test_images_and_texts_have_networks_of_their_own() -> None:
    generator = torch.Generator().manual_seed(4)
    stripes = torch.zeros(2, 1, 8, 8)
    stripes[0, :, ::2], stripes[1, :, :, ::2] = 1, 1
    images = stripes[torch.randint(2, (200,), generator=generator)] + 0.3 * torch.randn(
        (200, 1, 8, 8), generator=generator
    )

    def across_or_down(asked: Tensor) -> Tensor:
        flat = asked.flatten(1) @ (stripes[0] - stripes[1]).flatten()
        return torch.sigmoid(torch.stack([flat, -flat], -1) / 8)

    seen = Verifier.distil(across_or_down, images[:120], false_alarms=0.1, variations=1, steps=150, weights=4000)
    assert seen.measure(across_or_down, images[120:], attacks=CLASS_CHANGES).agreement > 0.9

    def colours(asked: list[str]) -> Tensor:
        red = torch.tensor([float("red" in text.split()) for text in asked])
        return torch.stack([0.05 + 0.9 * red, 0.95 - 0.9 * red], -1)

    texts = [f"the {colour} thing number {i}" for i in range(80) for colour in ("red", "blue")]
    read = Verifier.distil(colours, texts[:120], false_alarms=0.1, variations=1, steps=150, weights=30_000)
    assert read.measure(colours, texts[120:], attacks=CLASS_CHANGES).agreement > 0.9
    assert max(seen.weights, read.weights - 26_000) <= 4000
    assert CLASSES > 2, "the two services above are the ones with two classes"
