"""The harness of private inference: its simulator against closed forms, constants against their sources, tables."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from bench.private_inference.arrivals import bursts, poisson, trace
from bench.private_inference.constants import (
    Constants,
    Phase,
    Work,
    apart,
    best_up_share,
    one_machine,
    seconds_alone,
    slots_of,
    system,
)
from bench.private_inference.sharing import Shared
from bench.private_inference.simulate import DELAY, System, Use, simulate
from bench.private_inference.summary import student, summary, sustainable_rate
from secure.protocols.core.errors import ConfigurationError

SERVICE = 10.0
BOTH = {"making": 1.0, "answering": 1.0}


def served_alone(offline: float, online: float, slots: int, **options: object) -> System:
    """Makings and answers that share nothing with each other."""
    return System(
        ((Use("making", offline),),),
        ((Use("answering", online),),),
        BOTH,
        slots,
        **options,  # type: ignore[arg-type]
    )


def pollaczek(load: float) -> float:
    """Mean seconds from arrival to answer of M/D/1, by Pollaczek and Khinchine."""
    return SERVICE * (1 + load / (2 * (1 - load)))


@pytest.mark.parametrize(
    ("requests", "seeds", "load"),
    [
        (30_000, 2, 0.5),
        (30_000, 2, 0.6),
        *(pytest.param(100_000, 10, load, marks=pytest.mark.slow) for load in (0.3, 0.5, 0.7, 0.8)),
    ],
)
def test_the_mean_is_that_of_one_server_with_room_for_all_and_for_nothing(
    requests: int, seeds: int, load: float
) -> None:
    arrivals = poisson(load / SERVICE, requests)
    for served in (served_alone(6.0, SERVICE, 10**9), served_alone(6.0, SERVICE - 6.0, 0)):
        found = summary(served, arrivals, seeds)
        assert abs(found["mean"]["mean"] / pollaczek(load) - 1) < 0.03
        assert found["hits"]["mean"] == float(served.slots > 0)


@pytest.mark.parametrize(
    ("requests", "seeds"), [(30_000, 2), pytest.param(100_000, 10, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_the_mean_is_that_of_processor_sharing(requests: int, seeds: int) -> None:
    """D / (1 - load), whatever the distribution of what each takes."""
    served = System((), ((Use("link", SERVICE),),), {"link": 1.0}, 0, sessions=10**6)
    found = summary(served, poisson(0.5 / SERVICE, requests), seeds)
    assert abs(found["mean"]["mean"] / (2 * SERVICE) - 1) < 0.03


def test_two_equal_transfers_take_twice_as_long() -> None:
    served = System((), ((Use("link", 5.0),),), {"link": 1.0}, 0, sessions=2)
    assert simulate(served, [0.0, 0.0]).latencies == pytest.approx([10.0, 10.0])
    assert simulate(served, [0.0, 2.0]).latencies == pytest.approx([8.0, 8.0])
    assert simulate(served, [0.0, 7.0]).latencies == pytest.approx([5.0, 5.0])


def test_a_making_and_an_answer_share_the_link() -> None:
    """The answer of the first request leaves a slot, whose making slows the second answer down."""
    stages = (((Use("link", 6.0),),), ((Use("link", 2.0),),))
    served = System(*stages, {"link": 1.0}, 2)
    assert simulate(served, [0.0, 3.0]).latencies == pytest.approx([2.0, 4.0])


def test_stages_follow_each_other_and_uses_of_a_stage_go_on_together() -> None:
    stages = (Use("cores", 3.0), Use("link", 2.0)), (Use(DELAY, 1.0),), (Use("cores", 4.0, 2.0),)
    served = System((), stages, {"cores": 2.0, "link": 1.0}, 0)
    assert simulate(served, [1.0]).latencies == pytest.approx([3.0 + 1.0 + 2.0])


def test_cores_slow_all_down_by_the_same_factor() -> None:
    cores = Shared(2.0)
    cores.add(0.0, 6.0, 2.0, "wide")
    cores.add(0.0, 3.0, 1.0, "narrow")
    assert cores.due == pytest.approx(4.5)  # each at two thirds of its own pace
    cores.pop(4.5)
    assert cores.pop(cores.due) == "narrow" and cores.worked == pytest.approx(9.0)


def test_with_nothing_to_do_an_answer_takes_its_own_time() -> None:
    served = served_alone(6.0, 4.0, 2)
    for slots, seconds, hit in ((2, 4.0, True), (0, 10.0, False)):
        run = simulate(System(served.offline, served.online, BOTH, slots), [100.0 * i for i in range(5)])
        assert run.latencies == pytest.approx([seconds] * 5) and run.hits.tolist() == [hit] * 5


def test_a_slot_is_taken_when_its_making_begins_and_free_when_its_answer_is_there() -> None:
    served = served_alone(6.0, 4.0, 1, miss="wait")
    run = simulate(served, [0.0, 1.0, 2.0])
    # Answers at 4; making 4 to 10, answer 14; making 14 to 20, answer 24.
    assert run.latencies == pytest.approx([4.0, 13.0, 22.0])
    assert run.hits.tolist() == [True, False, False]
    assert sustainable_rate(served) == pytest.approx(0.1)
    assert sustainable_rate(served_alone(6.0, 4.0, 2, miss="wait")) == pytest.approx(1 / 6)
    two = served_alone(6.0, 4.0, 3, miss="wait", pipelines=2)
    assert sustainable_rate(System(two.offline, two.online, BOTH | {"making": 2.0}, 3, 2, 1, "wait")) == pytest.approx(
        1 / 4
    )


def test_a_request_that_finds_nothing_has_its_own_made() -> None:
    served = served_alone(6.0, 4.0, 1, miss="demand")
    run = simulate(served, [0.0, 1.0, 100.0])
    # The second one's making goes on at the same time as the slot's, from 4 on, at half of the pace until 16.
    assert run.latencies == pytest.approx([4.0, 19.0, 4.0])
    assert run.hits.tolist() == [True, False, True]


def test_nobody_is_forgotten_and_a_seed_is_a_seed() -> None:
    served, arrivals = served_alone(6.0, 4.0, 3), bursts(0.12, 500)
    first, again, other = (simulate(served, arrivals(np.random.default_rng(seed))) for seed in (1, 1, 2))
    assert len(first.latencies) == 500 and np.isfinite(first.latencies).all() and first.latencies.min() >= 4.0 - 1e-9
    assert np.array_equal(first.latencies, again.latencies) and not np.array_equal(first.latencies, other.latencies)


def test_arrivals_come_at_their_rate() -> None:
    for arrivals in (poisson(2.0, 20_000), bursts(2.0, 20_000)):
        times = arrivals(np.random.default_rng(0))
        assert np.all(np.diff(times) >= 0) and abs(20_000 / times[-1] / 2.0 - 1) < 0.05
    spread = [float(np.diff(each(np.random.default_rng(0))).std()) for each in (poisson(2.0, 5000), bursts(2.0, 5000))]
    assert spread[1] > 1.2 * spread[0]
    with pytest.raises(ConfigurationError, match="cannot take"):
        bursts(1.0, 10, factor=20.0)


def test_a_trace_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "good").write_text("0.5\n1\n1\n7.25\n")
    assert trace(tmp_path / "good")(np.random.default_rng(0)).tolist() == [0.5, 1.0, 1.0, 7.25]
    for text in ("", "1\n0.5\n", "1\nx\n", "-1\n", "nan\n"):
        (tmp_path / "bad").write_text(text)
        with pytest.raises(ConfigurationError):
            trace(tmp_path / "bad")
    with pytest.raises(ConfigurationError, match="no list of seconds"):
        trace(tmp_path / "missing")


def test_intervals_are_students() -> None:
    assert student(29) == pytest.approx(2.0452, abs=1e-3) and student(10) == pytest.approx(2.2281, abs=1e-3)
    found = summary(served_alone(6.0, 4.0, 3), poisson(0.1, 50), 5)
    assert set(found) == {"mean", "p50", "p95", "p99", "hits"}
    assert all(math.isfinite(each["half"]) for each in found.values())
    assert found["p50"]["mean"] <= found["p95"]["mean"] <= found["p99"]["mean"]


def test_constants_at_a_site() -> None:
    offline = Phase((Work("p1", 8.0, 4.0), Work("p0", 2.0)), up_bytes=300.0, down_bytes=100.0, rounds=20)
    online = Phase((Work("p0", 1.0), Work("p1", 2.0)), elapsed=1.6)
    constants = Constants("one", "nowhere", "estimated", offline, online, {"p0": 3.0, "p1": 10.0})
    site = apart(2, 4, 100.0, round_trip=0.1)
    assert seconds_alone(offline, site) == pytest.approx(2.0 + 2.0 + 6.0 + 2.0 + 1.0)
    assert seconds_alone(online, site) == seconds_alone(online, one_machine(2)) == pytest.approx(1.6)
    assert slots_of(constants, {"p0": 10.0, "p1": 20.0}) == 2 and slots_of(constants, {"p0": 10.0}) == 3
    assert slots_of(constants, {"p1": 9.0}) == 0
    # Three core-seconds in 1.6 s: alone as measured, two at a time on two cores in as long as they need.
    served = system(constants, one_machine(2), {}, sessions=2)
    assert simulate(served, [0.0, 50.0]).latencies == pytest.approx([1.6, 1.6])
    assert simulate(served, [0.0, 0.0]).latencies == pytest.approx([3.0, 3.0])
    assert best_up_share(constants) == pytest.approx(math.sqrt(3) / (math.sqrt(3) + 1))
