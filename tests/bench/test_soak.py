"""The soak: what it plans and finds, and a short one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import results
from bench.soak.campaign import MOST_GROWN, Held, Phase, Soaked, soak
from bench.soak.command import before, line, phases

ASKED = {"predictions": 500, "clients": 8, "kills": 20}
PHASE = Phase("p0", ("p1",), 10, 2)
HELD = Held(100_000_000, 20, 30)


def found(**changes: Any) -> Soaked:
    after = {"p0": Held(**{**vars(HELD), **changes}), "clients": HELD}
    return Soaked(PHASE, 10, 0, {"PartyLost": 1}, {"p0": HELD, "clients": HELD}, after, 1.0)


def test_each_party_lives_through_a_phase_and_every_role_is_killed() -> None:
    planned = phases(**ASKED)
    assert [phase.lives for phase in planned] == ["p0", "p1"]
    assert sum(len(phase.killed) for phase in planned) == 20 and sum(phase.predictions for phase in planned) == 500
    assert all(phase.lives not in phase.killed and "dealer" in phase.killed for phase in planned)


@pytest.mark.parametrize("what", MOST_GROWN)
def test_what_has_grown_is_found(what: str) -> None:
    most, now = MOST_GROWN[what], getattr(HELD, what)
    assert found(**{what: now + most}).within()
    assert not found(**{what: now + most + 1}).within()
    assert found(**{what: now + most + 1}).grown()["p0"][what] == most + 1


def test_a_wrong_or_missing_answer_is_found() -> None:
    soaked = found()
    soaked.wrong = 1
    assert not soaked.within()
    soaked.wrong, soaked.answers = 0, 9
    assert not soaked.within()
    assert "9 answers, 0 wrong, 1 ended early" in line(soaked.to_json())


def test_a_campaign_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    assert before(ASKED) == []
    record = {"setting": ASKED, "phases": [{"first": 1}]}
    (tmp_path / "soak.json").write_text(json.dumps(record))
    assert before(ASKED) == [{"first": 1}] and before({**ASKED, "kills": 10}) == []
    (tmp_path / "soak.json").write_text(json.dumps({**record, "phases": [{}, {}]}))
    assert before(ASKED) == []


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.timeout(1800)
def test_nothing_grows_while_parties_are_killed(tmp_path: Path) -> None:
    soaked = soak(Phase("p0", ("p1", "dealer"), 60, 4), tmp_path)
    assert soaked.within(), soaked.to_json()
