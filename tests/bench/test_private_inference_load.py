"""Requests sent to a service as they arrive: every one is answered, slots are kept full, and failures end the run."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.private_inference import loading
from bench.private_inference.constants import measured, one_machine, system
from bench.private_inference.loading import Load, send
from bench.private_inference.services import Answer, Service
from bench.private_inference.simulate import Run
from bench.private_inference.summary import sustainable_rate, with_slots
from secure.protocols.core.errors import ConfigurationError, PartyLost
from tests.bench.inference_records import constants_record


class Stocks(Service):
    """Makings are counted; answers take one, for which they wait, or have their own made."""

    def __init__(self, *, fails_at: int = 10**9, waits: bool = False) -> None:
        self.stock = self.made = self.answers = self.most = 0
        self._fails_at = fails_at
        self._waits = waits
        self._changed = threading.Condition()

    def empty(self) -> None:
        self.stock = 0

    def fill(self) -> float:
        with self._changed:
            self.made += 1
            self.stock += 1
            self.most = max(self.most, self.stock)
            self._changed.notify_all()
        return 0.0

    def answer(self) -> Answer:
        with self._changed:
            if self._waits:
                assert self._changed.wait_for(lambda: self.stock > 0, 60)
            hit = self.stock > 0
            self.stock -= hit
            self.answers += 1
            if self.answers == self._fails_at:
                raise PartyLost("p1", "p0", "its stream broke")
        return Answer(0.0, hit, {}, {}, 0, 0)


@pytest.mark.parametrize("sessions", [1, 3])
@pytest.mark.parametrize("waits", [True, False], ids=["waiting", "on demand"])
def test_everybody_is_answered_and_slots_are_filled_again(sessions: int, waits: bool) -> None:
    service = Stocks(waits=waits)
    service.stock = 5  # of an earlier run
    run = send(service, [0.0, 0.0, 0.01, 0.02, 0.02, 0.03], 2, sessions)
    assert service.answers == 6 and np.isfinite(run.latencies).all() and run.latencies.min() > 0
    assert service.most <= 2 and run.seconds >= 0.03
    hits = int(run.hits.sum())
    assert hits <= service.made <= 2 + hits
    assert hits >= (6 if waits else 2)


def test_what_fails_ends_the_run() -> None:
    service = Stocks(fails_at=3)
    with pytest.raises(PartyLost):
        send(service, [0.0] * 50, 2)
    assert service.answers == 3
    with pytest.raises(ConfigurationError, match="at least one slot"):
        send(service, [0.0], 0)


def test_a_record_compares_each_utilisation_with_the_simulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Running:
        def __enter__(self) -> Stocks:
            return Stocks()

        def __exit__(self, *_: object) -> None:
            pass

    asked: list[list[float]] = []

    def answered(service: Service, times: Any, slots: int) -> Run:
        asked.append([float(time) for time in times])
        return Run(np.full(len(times), 0.5), np.ones(len(times), bool), 1.0, {})

    constants = {key: value for key, value in constants_record().items() if key not in ("command", "kind")}
    monkeypatch.setattr(loading, "running", lambda *_: Running())
    monkeypatch.setattr(loading, "constants_of", lambda *_: constants)
    monkeypatch.setattr(loading, "send", answered)
    load = Load("pictures", "client", 2, (0.2, 0.6), 60.0, 3)
    record = loading.run(load)
    served = with_slots(system(measured(constants_record()), one_machine(loading.os.cpu_count() or 1), {}), 2)
    assert record["sustainable_rate"] >= sustainable_rate(served) and record["kind"] == "inference-load"
    assert [row["utilisation"] for row in record["rows"]] == [0.2, 0.6]
    assert [len(times) for times in asked] == [row["requests"] for row in record["rows"]]
    assert all(row["simulated"]["mean"] >= 0.4999 and row["real"]["mean"] == 0.5 for row in record["rows"])
    first = record["rows"][0]
    assert first["off"]["mean"] == pytest.approx(first["simulated"]["mean"] / 0.5 - 1)
    (tmp_path / "trace").write_text("1\n2\n4\n")
    (row,) = loading.run(Load("pictures", "client", 2, (0.2,), 60.0, 3, str(tmp_path / "trace")))["rows"]
    assert asked[-1] == [1.0, 2.0, 4.0] and row["rate"] == pytest.approx(0.75)
    with pytest.raises(ConfigurationError):
        loading.run(Load("pictures", "client", 2, (0.2,), 60.0, 3, str(tmp_path / "nothing")))
