"""The fit of what seconds are predicted with: it finds the constants that made the seconds, whatever one run says."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bench import results
from bench.latency.fit import check, fit, measured, summary
from bench.latency.plans import fit_machine, lines, predictor_record, told
from bench.latency.runs import Measured
from secure.models import latency
from secure.models.latency import NETWORKS, Constants, constants, predict, reference_speed
from secure.models.price import Amount, Price
from secure.protocols.core.errors import ConfigurationError

TWO = Constants(0.3, 1e-3, 2e-9, 1e-10, dealer_share=0.4, crossings=1.0)
THREE = replace(TWO, round_seconds=1.5e-3, byte_seconds=3e-9, multiplication_seconds=1.5e-10, crossings=0.8)
AMOUNTS = (
    Amount(300, 10_000_000, 20_000_000, 10**9),
    Amount(600, 30_000_000, 90_000_000, 10**10),
    Amount(100, 90_000_000, 30_000_000, 4 * 10**9),
    Amount(900, 5_000_000, 8_000_000, 10**8),
)


def run(name: str, protocol: str, network: str, amount: Amount, constants: Constants) -> Measured:
    dealt = amount if protocol == "beaver" else replace(amount, dealer_bytes=0)
    price = Price(protocol, {"all": dealt}, Amount(), 1_000_000, 10_000)
    return Measured(name, price, network, predict(price, NETWORKS[network], constants).total)


def runs() -> list[Measured]:
    found = []
    for network in NETWORKS:
        for number, amount in enumerate(AMOUNTS):
            found.append(run(f"two {network} {number}", "beaver", network, amount, TWO))
            found.append(run(f"three {network} {number}", "replicated", network, amount, THREE))
    return found


def test_constants_are_found_from_what_they_predict() -> None:
    found = fit(runs())
    for due, got in ((TWO, found["beaver"]), (THREE, found["replicated"])):
        for name, value in vars(due).items():
            assert getattr(got, name) == pytest.approx(value, rel=1e-3), name


def test_one_run_of_a_busy_machine_counts_no_more_than_others() -> None:
    busy = [replace(each, seconds=2 * each.seconds) if each.name == "two lan 1" else each for each in runs()]
    found = fit(busy)["beaver"]
    assert found.round_seconds == pytest.approx(TWO.round_seconds, rel=0.05)
    assert found.dealer_share == pytest.approx(TWO.dealer_share, rel=0.1)


def test_every_run_is_predicted_from_the_others() -> None:
    (wrong,) = (each for each in runs() if each.name == "two wan 2")
    others = [each for each in runs() if each.name != wrong.name]
    checks = check([*others, replace(wrong, seconds=wrong.seconds / 2)])
    errors = {each.run.name: each.held_out_error for each in checks}
    assert errors[wrong.name] == pytest.approx(1.0, rel=0.05), "the run itself did not teach the fit"
    said = summary(checks, fit(others))["held_out"]
    assert said["largest_error"] == pytest.approx(1.0, rel=0.05) and said["median_error"] < 0.02


def test_too_few_runs_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="3 measurements of beaver; 6 are needed"):
        fit([each for each in runs() if each.protocol == "beaver"][:3])


@pytest.mark.parametrize("protocol", ["beaver", "replicated"])
@pytest.mark.parametrize("network", ["lan", "wan"])
def test_a_machine_that_is_slower_and_hides_less_is_told_from_other_plans(protocol: str, network: str) -> None:
    """Six plans on a machine that takes twice as long; each is told exactly, and by a wrong run not the run itself."""
    base = constants(protocol)
    slow = {name: 2 * getattr(base, name) for name in vars(base) if name.endswith("_seconds")}
    other = {"dealer_share": 0.5} if protocol == "beaver" else {"crossings": 0.8}
    amounts = [Amount(60 * n, 10**7 * n, 2 * 10**6 * (7 - n), 10**8 * n * n) for n in range(1, 7)]
    found = [run(f"{n}", protocol, network, each, replace(base, **slow, **other)) for n, each in enumerate(amounts)]
    fitted = fit_machine(found)
    assert fitted.round_seconds == pytest.approx(slow["round_seconds"], rel=1e-3)
    assert max(abs(each.error) for each in told(found)) < 1e-3
    wrong = predictor_record([replace(found[0], seconds=1.2 * found[0].seconds), *found[1:]])
    assert wrong is not None
    assert wrong["largest_error"] == pytest.approx(1 - 1 / 1.2, abs=0.05)
    assert lines(wrong)[-1].startswith("held out: median error") and wrong["by_kernels"] is None
    twice = {name: 2 * value for name, value in vars(reference_speed()).items()}
    known = predictor_record(
        [run(each.name, protocol, network, each.price.total, replace(base, **slow)) for each in found], twice
    )
    assert known is not None and known["by_kernels"]["largest_error"] < 1e-3, "a machine twice as slow, by its kernels"
    assert predictor_record(found[:3]) is None


@pytest.mark.slow  # ten seconds for the prices of fifteen models; whoever changes one of them runs it
def test_the_committed_constants_are_those_of_the_committed_measurements() -> None:
    content = json.loads(latency.FILE.read_text(encoding="utf-8"))
    names = [each["name"] for each in content["measurements"]]
    records = {path.stem: json.loads(path.read_text()) for path in results.FOLDER.glob("*.json")}
    found = [run for stem, record in records.items() for run in measured(record, stem)]
    again = fit([run for run in found if run.name in names])
    for family, due in content["families"].items():
        assert vars(again[family]) == pytest.approx(due, rel=1e-6), "run python -m bench latency --update"
    assert {run.name for run in found} == {*names, *content["left_out"]}
