"""Seconds predicted from a price: sums of what their formula says, over networks by name and from files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from secure.models.latency import (
    NETWORKS,
    SESSION_TRIPS,
    Constants,
    NetworkLink,
    PartyNetwork,
    constants,
    find_network,
    is_fitted,
    layer_seconds,
    network_toml,
    predict,
    reference_speed,
)
from secure.models.price import Amount, Price
from secure.models.speed import Speed, measure_speed
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.families import family

FITTED = Constants(0.5, 1e-3, 1e-9, 1e-10, dealer_share=0.25, crossings=1.0)
LAYERS = {"first": Amount(10, 4_000_000, 1_000_000, 10**8), "second": Amount(5, 0, 0, 0)}
TWO = Price("beaver", LAYERS, Amount(), 1_000_000, 0)
THREE = Price("replicated", {"first": Amount(10, 6_000_000, 0, 10**8)}, Amount(), 0, 0)


def test_two_parties_and_a_dealer() -> None:
    found = predict(TWO, NETWORKS["wan"], FITTED)
    trips = SESSION_TRIPS["beaver"] * 0.02
    compute = 10 * 1e-3 + 3_000_000 * 1e-9 + 1e8 * 1e-10
    assert found.layers["first"] == pytest.approx(10 * 0.02 + 8 * (2_000_000 + 0.25 * 1_000_000) / 200e6 + compute)
    assert found.layers["second"] == pytest.approx(5 * 0.02 + 5 * 1e-3)
    assert found.session == pytest.approx(0.5 + trips + 8 * 1_000_000 / 200e6)
    assert found.total == pytest.approx(sum(found.layers.values()) + found.session)
    assert found.compute == pytest.approx(compute + 5 * 1e-3)


def test_what_is_dealt_hides_behind_the_rest_as_long_as_there_is_a_rest() -> None:
    much = Price("beaver", {"only": Amount(1, 0, 10**9, 0)}, Amount(), 0, 0)
    assert predict(much, NETWORKS["wan"], FITTED).total == pytest.approx(8e9 / 200e6)


def test_three_parties_send_to_each_other() -> None:
    found = predict(THREE, NETWORKS["lan"], FITTED).layers["first"]
    compute = 10 * 1e-3 + 2_000_000 * 1e-9 + 1e8 * 1e-10
    assert found == pytest.approx(10 * 0.0005 + 8 * 2_000_000 / 1e9 + compute)


def test_one_machine_has_no_network() -> None:
    alone = predict(TWO, NETWORKS["loopback"], FITTED)
    assert alone.total == pytest.approx(0.5 + alone.compute)


def test_layers_add_up_to_their_sum() -> None:
    """A search adds up layers that it has priced one by one."""
    network, total = NETWORKS["wan"], TWO.total
    apart = sum(layer_seconds("beaver", amount, network, FITTED) for amount in LAYERS.values())
    assert layer_seconds("beaver", total, network, FITTED) == pytest.approx(apart)


def test_a_file_gives_each_pair_its_own_link(tmp_path: Path) -> None:
    path = tmp_path / "network.toml"
    links = {frozenset(("p0", "p1")): NetworkLink(0.01, 1e9), frozenset(("dealer", "p1")): NetworkLink(0.2, 1e8)}
    path.write_text(network_toml(links, "measured\non two machines"), encoding="utf-8")
    found = find_network(str(path))
    assert found.between("p1", "p0") == NetworkLink(0.01, 1e9) and found.between("p1", "dealer") == NetworkLink(
        0.2, 1e8
    )
    assert found.between("client", "p0") == NetworkLink(0.2, 1e8), "nobody measured the client: the slowest of all"
    # Rounds are between p0 and p1, whatever the dealer's delay.
    assert predict(TWO, found, FITTED).layers["second"] == pytest.approx(5 * 0.005 + 5 * 1e-3)
    with pytest.raises(ConfigurationError, match="no link between p0 and p2; secure doctor"):
        predict(THREE, found, FITTED)


def test_what_parties_compute_takes_as_long_as_the_slowest_host_says(tmp_path: Path) -> None:
    """A host that takes twice as long for each kernel as the machine of the fit computes twice as long."""
    reference, path = reference_speed(), tmp_path / "network.toml"
    links = {frozenset(pair): NetworkLink(0.01, 1e9) for pair in (("p0", "p1"), ("dealer", "p1"))}
    slow = Speed(*(2 * value for value in vars(reference).values()))
    path.write_text(network_toml(links, "", {"p0": reference, "p1": slow, "dealer": Speed(1.0, 1.0, 1.0)}))
    network = find_network(str(path))
    assert vars(network.hosts["p1"]) == pytest.approx(vars(slow), rel=1e-3)
    once, twice = (predict(TWO, each) for each in (replace(network, hosts={}), network))
    assert twice.compute == pytest.approx(2 * once.compute, rel=1e-3)
    assert twice.summed - once.summed == pytest.approx(once.compute, rel=1e-3)


def test_this_machine_has_a_speed() -> None:
    found = measure_speed()
    # A byte of a seed's stream takes less than a message to another thread and back, on any machine.
    assert 0 < found.byte_seconds < found.round_seconds and found.multiplication_seconds > 0


HOST = """
[[link]]
between = ["p0", "p1"]
round_trip_seconds = 0
bits_per_second = 1
[[host]]
role = "p1"
round_seconds = 1e-3
byte_seconds = 2e-9
multiplication_seconds = 1e-10
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"has no \[\[link\]\]"),
        ("[[links]]", "unknown key 'links'; did you mean link"),
        ('[[link]]\nbetween = ["p0", "p0"]', "it names two roles"),
        ('[[link]]\nbetween = ["p0", "p1"]\nround_trip = 1', "did you mean round_trip_seconds"),
        ('[[link]]\nbetween = ["p0", "p1"]\nround_trip_seconds = -1\nbits_per_second = 1', "round_trip_seconds of p0"),
        ('[[link]]\nbetween = ["p0", "p1"]\nround_trip_seconds = nan\nbits_per_second = 1', "round_trip_seconds of p0"),
        ('[[link]]\nbetween = ["p0", "p1"]\nround_trip_seconds = 0', "bits_per_second of p0 and p1 is None"),
        ('[[link]]\nbetween = ["p0", "p1"]\nround_trip_seconds = 0\nbits_per_second = 0', "is zero"),
        ("link = 3", r"has no \[\[link\]\]"),
        ("link = [3]", "it is a table"),
        (
            'host = 3\n[[link]]\nbetween = ["p0", "p1"]\nround_trip_seconds = 0\nbits_per_second = 1',
            "once for each role",
        ),
        (HOST.replace("role", "roles"), "a table with the name of a role"),
        (HOST.replace("byte_", "bytes_"), "did you mean byte_seconds"),
        (HOST.replace("2e-9", "-1"), "byte_seconds of p1 is -1"),
        ("=", "cannot be read as TOML"),
    ],
)
def test_a_file_with_a_mistake_is_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "network.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=said):
        find_network(str(path))


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'moon' is no file and no known network: loopback, lan, wan"):
        find_network("moon")


@pytest.mark.parametrize("protocol", ["beaver", "replicated"])
def test_committed_constants_are_those_of_a_fit(protocol: str) -> None:
    fitted = constants(protocol)
    assert fitted.round_seconds + fitted.byte_seconds + fitted.multiplication_seconds > 0
    assert min(vars(fitted).values()) >= 0


def test_a_family_that_nobody_measured_is_guessed_from_the_default_one() -> None:
    guessed, known = constants("witnessed"), constants("beaver")
    assert is_fitted("beaver") and not is_fitted("witnessed")
    assert guessed.round_seconds == family("witnessed").sides * known.round_seconds
    assert guessed.crossings == known.crossings


def test_a_named_network_has_all_links() -> None:
    assert PartyNetwork("x", {}, NetworkLink(1.0, 2.0)).between("p0", "p1") == NetworkLink(1.0, 2.0)
