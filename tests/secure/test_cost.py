"""`secure cost`, in Python and on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from secure.cli.main import app
from secure.costs import cost
from secure.models.checkpoint.shapes import manifest_of_folder
from secure.models.contract.request import Request
from secure.models.latency import NETWORKS, NetworkLink, network_toml, predict
from secure.models.price import price
from secure.protocols.core.errors import ConfigurationError, InputError
from tests.models.decoders import save_decoder
from tests.models.images import save_vit
from tests.models.kin import save_model


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    save_model(folder, "bert", "sequence")
    return folder


def test_a_session_costs_what_price_and_latency_say(bert: Path) -> None:
    found = cost(bert, tokens=8, batch=2, network="wan", weights="public")
    due = price(manifest_of_folder(bert, weights="public"), Request("logits", 2, 8, masked=False))
    assert found.price == due and found.prediction == predict(due, NETWORKS["wan"])
    assert found.rows[-1].amount == due.total
    assert found.rows[-1].seconds == pytest.approx(sum(row.seconds for row in found.rows[:-1]))


def test_what_a_dealer_sends_ahead_is_left_out(bert: Path) -> None:
    whole, online = cost(bert, tokens=8), cost(bert, tokens=8, phase="online")
    assert online.price == whole.price.of("online")
    assert online.moved_bytes == whole.moved_bytes - whole.price.total.dealer_bytes
    assert online.prediction.total < whole.prediction.total
    said = f"The dealer sends {whole.price.total.dealer_bytes / 1e6:,.1f} MB before the session, which are left out."
    assert said in list(online.lines(None, None)) and said not in list(whole.lines(None, None))
    done = CliRunner().invoke(app, ["cost", str(bert), "--tokens", "8", "--phase", "online"])
    assert said in done.output and "dealer MB" not in done.output


def test_money_is_for_bytes_that_leave_a_machine_and_for_cores(bert: Path) -> None:
    found = cost(bert, tokens=8)
    total = found.price.total
    moved = total.online_bytes + total.dealer_bytes + found.price.sent_bytes + found.price.answer_bytes
    assert found.money(per_gb=2.0) == pytest.approx(2.0 * moved / 1e9)
    assert found.money(per_core_hour=3.0) == pytest.approx(3 * 3.0 * found.prediction.compute / 3600)


def test_the_profile_of_a_network_is_what_its_parties_would_name(bert: Path) -> None:
    for network, name in (("lan", "near"), ("wan", "far")):
        found, due = cost(bert, tokens=8, network=network, profile="auto"), cost(bert, tokens=8, profile=name)
        assert found.profile == name and found.price == due.price
        assert any(f"profile {name}:" in line for line in found.lines(None, None))
    assert cost(bert, tokens=8, network="wan").profile == "near", "as parties whose file says nothing"
    with pytest.raises(ConfigurationError, match="unknown network profile 'wide'; known are near, far"):
        cost(bert, tokens=8, profile="wide")  # type: ignore[arg-type]


def test_a_farther_network_takes_longer_and_costs_no_more_bytes(bert: Path) -> None:
    near, far = (cost(bert, tokens=8, network=network) for network in ("lan", "wan"))
    assert near.prediction.total < far.prediction.total and near.price == far.price


def test_it_is_said_where_seconds_are_a_guess(bert: Path) -> None:
    guessed, known = (cost(bert, tokens=8, protocol=protocol) for protocol in ("witnessed", "replicated"))
    assert any("Seconds are a guess" in line for line in guessed.lines(None, None))
    assert not any("guess" in line for line in known.lines(None, None))


def test_it_is_said_where_bandwidth_decides(bert: Path, tmp_path: Path) -> None:
    path = tmp_path / "network.toml"
    links = {frozenset(("p0", "p1")): NetworkLink(0.0, 1e9), frozenset(("dealer", "p1")): NetworkLink(0.0, 1e4)}
    path.write_text(network_toml(links, "a dealer far away"))
    slow, fast = cost(bert, tokens=8, network=str(path)), cost(bert, tokens=8)
    assert slow.prediction.total == slow.prediction.least >= 8 * slow.price.total.dealer_bytes / 1e4
    assert any("Bandwidth decides" in line for line in slow.lines(None, None))
    assert not any("Bandwidth" in line for line in fast.lines(None, None))


def test_what_is_missing_or_too_much_is_said(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="say how many tokens"):
        cost(bert)
    save_vit(tmp_path)
    assert cost(tmp_path).request.tokens == 4
    with pytest.raises(InputError, match="7 tokens; every input of this model has 4"):
        cost(tmp_path, tokens=7)


def test_generated_tokens_are_steps(tmp_path: Path) -> None:
    save_decoder(tmp_path, "gpt2")
    first, more = (cost(tmp_path, tokens=4, new_tokens=count) for count in (1, 3))
    assert first.request.steps == 1 and more.request.steps == 3
    assert more.price.total.rounds > 2 * first.price.total.rounds


def test_the_command(bert: Path) -> None:
    arguments = ["cost", str(bert), "--tokens", "8", "--network", "wan", "--protocol", "replicated"]
    money = ["--price-per-gb", "0.09", "--price-per-core-hour", "0.04"]
    done = CliRunner().invoke(app, [*arguments, *money])
    assert done.exit_code == 0, done.output
    due = cost(bert, tokens=8, network="wan", protocol="replicated")
    assert f"{due.price.total.rounds}" in done.output and "layer.1" in done.output
    assert f"Money: {due.money(0.09, 0.04):.3g} a session" in done.output
    assert "dealer MB" not in done.output
