"""Constants of private inference against what their sources say, and every simulation of the tables, in small."""

from __future__ import annotations

import pytest

from bench import baseline, results
from bench.private_inference import campaign
from bench.private_inference import table as inference_tables
from bench.private_inference.comparing import compared
from bench.private_inference.constants import apart, measured, one_machine, seconds_alone, slots_of
from bench.private_inference.published import (
    RESNET18,
    RESNET20,
    RESNET32,
    Taken,
    cryptonite,
    dealt_ahead,
    ours,
)
from secure.protocols.core.errors import ConfigurationError
from tests.bench.inference_records import constants_record
from tests.bench.records import hybrid_record

RECORDS = results.load_all()
GIGABIT = apart(campaign.CLIENT_CORES, campaign.SERVER_CORES, campaign.LINK)


def of_kind(kind: str) -> list[dict[str, object]]:
    return [record for record in RECORDS if record["kind"] == kind]


def test_networks_are_those_of_the_artifact() -> None:
    assert (RESNET32.relus, RESNET18.relus) == (303_104, 2_228_224)
    assert round(RESNET20.products / 1e6, 1) == 40.8 and round(RESNET20.weights / 1e6, 2) == 0.27
    assert round(RESNET18.weights / 1e6, 1) == 11.2


def test_the_artifacts_seconds_and_bytes_are_in_its_units() -> None:
    """It states 141 + 34 s and 5.5 GB for ResNet-32, and 41 GB for ResNet-18. What its ciphertexts take is left out."""
    of_resnet32, of_resnet18 = cryptonite(RESNET32, "server"), cryptonite(RESNET18, "server")
    assert seconds_alone(of_resnet32.offline, GIGABIT) == pytest.approx(141, rel=0.07)
    assert seconds_alone(of_resnet32.online, GIGABIT) == pytest.approx(34, rel=0.07)
    assert of_resnet32.kept_bytes["p0"] == pytest.approx(5.5e9, rel=0.01)
    assert of_resnet18.kept_bytes["p0"] == pytest.approx(41e9, rel=0.01)
    # Its finding: a client with 16 GB has no slot for what it evaluates, and some for what it garbles.
    room = {"p0": 16e9, "p1": 1e13}
    assert [slots_of(cryptonite(RESNET18, garbler), room) for garbler in ("server", "client")] == [0, 2]
    assert campaign.best_up_share(cryptonite(RESNET18, "client")) == pytest.approx(0.835, abs=0.01)
    with pytest.raises(ValueError, match="ResNet-20"):
        cryptonite(RESNET20, "client")


def test_ours_is_what_was_measured_where_it_was_measured() -> None:
    """Seconds but roughly: those of a gate and of the network were measured at different loads of the machine, so that
    what p0 takes beside gates, nearly nothing, may come out as less than that."""
    found = ours(RESNET20, RECORDS, "client")
    (whole,) = (each for each in of_kind("hybrid") if each["what"] == "resnet20")
    for phase, name in ((found.offline, "made"), (found.online, "used")):
        due = Taken.of(whole, name)
        assert [work.core_seconds for work in phase.work] == pytest.approx(due.seconds, rel=0.2)
        assert [phase.up_bytes, phase.down_bytes] == pytest.approx(due.sent, rel=0.02)
    assert found.kept_bytes["p1"] == pytest.approx(whole["kept_bytes"][1], rel=0.02)  # type: ignore[index]
    fewer = ours(RESNET20, RECORDS, "client", relus=0.25, products=0.5)
    assert fewer.kept_bytes["p1"] == pytest.approx(found.kept_bytes["p1"] / 4)
    assert all(a.core_seconds < b.core_seconds for a, b in zip(fewer.offline.work, found.offline.work, strict=True))
    with pytest.raises(ConfigurationError, match="bench hybrid resnet20 --garbler client"):
        ours(RESNET20, [hybrid_record()], "client")


def test_a_record_of_constants_is_read_as_measured() -> None:
    found = measured(constants_record())
    assert (seconds_alone(found.offline, one_machine(2)), seconds_alone(found.online, one_machine(2))) == (1.5, 0.5)
    assert (found.offline.up_bytes, found.offline.down_bytes, found.offline.dealt_bytes) == (3_500_000, 1_250_000, 0)
    assert found.kept_bytes == {"p0": 500.0, "p1": 4_250_000.0} and found.how == "measured"


def test_deals_of_a_dealer_are_constants_too() -> None:
    costs = baseline.read()["costs"]
    for record in of_kind("ahead"):
        setting = record["setting"]
        found = dealt_ahead(record, costs[f"{setting['model']} {setting['weights']} 1x{setting['tokens']}"])  # type: ignore[index]
        assert seconds_alone(found.online, one_machine(2)) == pytest.approx(record["median_seconds"]["stock"])  # type: ignore[index]
        assert found.kept_bytes["p1"] == found.offline.dealt_bytes == record["deal_bytes"]
        assert {work.role for work in found.offline.work} == {"dealer", "p0", "p1"}


def test_a_run_is_compared_with_the_simulators() -> None:
    real = {"mean": 2.0, "p95": 4.0}
    assert compared(real, {"mean": 2.2, "p95": 3.5})["within"]
    found = compared(real, {"mean": 2.0, "p95": 4.8})
    assert not found["within"] and found["off"] == pytest.approx({"mean": 0.0, "p95": 0.2})


def test_all_of_the_tables_are_simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "REQUESTS", 30)
    said: list[str] = []
    record = campaign.as_json(campaign.simulated(RECORDS, baseline.read()["costs"], 2, said.append))
    assert len(said) == len(record["groups"]) + 2 and {RESNET32.name, RESNET18.name} <= set(said)
    rows = {(group["name"], row["name"], row["slots"]): row for group in record["groups"] for row in group["rows"]}
    of_client = [row for (name, engine, _), row in rows.items() if name == RESNET18.name and "server garbles" in engine]
    assert {row["slots"] > 0 for row in of_client} == {True, False}
    for row in rows.values():
        for found in (each for each in row["at"] if each is not None):
            assert found["mean"]["mean"] > 0.999 * row["online_seconds"]
            assert found["p50"]["mean"] <= found["p95"]["mean"] <= found["p99"]["mean"]
            assert row["slots"] > 0 or found["hits"]["mean"] == 0
    for kind in ("storage", "optimisations", "policies"):
        assert record[kind]
    assert RESNET18.name in inference_tables.simulations([record | {"command": "python -m bench …"}])
