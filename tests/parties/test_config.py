from __future__ import annotations

from pathlib import Path

import pytest

from secure.parties.config import PARTIES, Limits
from secure.parties.settings_file import load_settings, settings_toml
from secure.parties.stock_settings import Keep, StockSettings
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.core.profile import NAMES

GOOD = """
[p0]
address = "localhost:7100"
[p1]
address = "localhost:7101"
listen = "0.0.0.0:7101"
[dealer]
address = "localhost:7102"
[tls]
dir = "certificates"
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "parties.toml"
    path.write_text(text)
    return path


def test_paths_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    settings = load_settings(
        write(tmp_path, GOOD + '[models]\ndir = "/models"\n[limits]\nthreads = 2\nmemory_bytes = 9\n')
    )
    assert settings.tls_dir == tmp_path / "certificates"
    assert settings.models_dir == Path("/models")
    assert settings.limits == Limits(threads=2, memory_bytes=9)
    assert settings.parties["p1"].address == "localhost:7101"
    assert settings.parties["p1"].listen == "0.0.0.0:7101"
    assert settings.parties["p0"].listen == "localhost:7100"


def test_the_network_profile_is_near_unless_it_is_said(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path, GOOD)).profile == "near"
    for name in NAMES:
        assert load_settings(write(tmp_path, GOOD + f'[network]\nprofile = "{name}"\n')).profile == name


def test_written_settings_are_read_back(tmp_path: Path) -> None:
    addresses = {role: f"127.0.0.1:{7100 + index}" for index, role in enumerate(PARTIES)}
    settings = load_settings(write(tmp_path, settings_toml(addresses, tmp_path / "tls", profile="far")))
    assert settings.profile == "far"
    assert {role: party.address for role, party in settings.parties.items()} == addresses
    assert settings.tls_dir == tmp_path / "tls"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (GOOD.replace("[dealer]", "[daeler]"), r"unknown key 'daeler'; did you mean 'dealer'\?"),
        (GOOD.replace("listen", "listn"), r"unknown key 'p1.listn'; did you mean 'listen'\?"),
        (GOOD + "[limits]\nthread = 1", r"unknown key 'limits.thread'; did you mean 'threads'\?"),
        (GOOD + "[zzz]", r"unknown key 'zzz'; known keys: p0, p1"),
        (GOOD.replace("[tls]", "[models]"), "tls is missing"),
        (GOOD.replace('dir = "certificates"', ""), "tls.dir is missing"),
        (GOOD + "[limits]\nthreads = 0", "limits.threads: input should be greater than or equal to 1"),
        (GOOD + "[limits]\nmemory_bytes = 0", "limits.memory_bytes: input should be greater than or equal to 1"),
        (GOOD + "[limits]\nthreads = 'two'", "limits.threads: input should be a valid integer"),
        (GOOD.replace("localhost:7100", "localhost"), "p0.address is 'localhost'; expected \"host:port\""),
        (GOOD.replace("0.0.0.0:7101", "0.0.0.0:99999"), "p1.listen is '0.0.0.0:99999'"),
        (GOOD.replace("localhost:7100", "http://localhost:7100"), "p0.address is 'http://localhost:7100'; .* before"),
        (GOOD.replace("localhost:7102", "Localhost:7100"), "dealer.address is 'Localhost:7100', as p0.address is"),
        ('protocol = "replicated"' + GOOD, "p2 is missing; the protocol 'replicated' is for p0, p1, p2"),
        ('protocol = "replicated"' + GOOD + '[p2]\naddress = "localhost:7103"', "dealer has no part in the protocol"),
        (GOOD + '[network]\nprofile = "wan"', "network.profile: input should be 'near', 'far' or 'auto'"),
        (GOOD + "[network]\nprofil = 'far'", r"unknown key 'network.profil'; did you mean 'profile'\?"),
        (
            GOOD + "[network]\nprofile = 'auto'\n[stock]\ndir = 'stock'",
            "network.profile: what is dealt ahead is for one",
        ),
        ("[p0", "is not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigurationError, match=words) as caught:
        load_settings(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.toml: cannot be read: No such file"):
        load_settings(tmp_path / "absent.toml")


def test_a_role_computes_on_its_own_device(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, GOOD.replace("[p1]", 'device = "cuda:1"\n[p1]')))
    assert [settings.device(role) for role in PARTIES] == ["cuda:1", "cpu", "cpu"]
    assert settings.device("p0", "cpu") == "cpu"
    with pytest.raises(ConfigurationError, match="p2 has no part in the protocol 'beaver'"):
        settings.device("p2")


def test_three_computing_parties_have_no_card(tmp_path: Path) -> None:
    text = 'protocol = "replicated"\n' + GOOD.replace("[dealer]", "[p2]")
    settings = load_settings(write(tmp_path, text))
    assert settings.device("p2") == settings.device("p2", "cpu") == "cpu"
    with pytest.raises(ConfigurationError, match="p2 is to compute on cuda: the protocol 'replicated' computes on the"):
        settings.device("p2", "cuda")


KEEP = '[[stock.keep]]\nmodel = "minilm"\nshapes = ["1x16"]\nat_least = 5\nup_to = 20\n'


def test_what_is_kept_in_stock(tmp_path: Path) -> None:
    stock = load_settings(write(tmp_path, GOOD + '[stock]\ndir = "stock"\n' + KEEP)).stock
    assert stock == StockSettings(tmp_path / "stock", keep=(Keep("minilm", ("1x16",), 5, 20),))
    assert stock.key == "memory"
    assert load_settings(write(tmp_path, GOOD)).stock is None
    wrong = GOOD + '[stock]\ndir = "stock"\n' + KEEP.replace("at_least", "at_last")
    with pytest.raises(ConfigurationError, match=r"unknown key 'stock.keep.0.at_last'; did you mean 'at_least'"):
        load_settings(write(tmp_path, wrong))


FOUR = GOOD.replace("[tls]", '[p2]\naddress = "localhost:7103"\n[tls]')


def test_security_stands_for_a_protocol(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path, GOOD)).family.security == "semi-honest"
    found = load_settings(write(tmp_path, 'security = "malicious"' + FOUR))
    assert found.protocol == "witnessed" and set(found.parties) == {"p0", "p1", "p2", "dealer"}
    assert (
        load_settings(write(tmp_path, 'security = "malicious"\nprotocol = "witnessed"' + FOUR)).parties == found.parties
    )
    assert (
        load_settings(write(tmp_path, 'security = "malicious"' + FOUR + '[stock]\ndir = "stock"\n')).stock is not None
    )
    for text, words in (
        ('security = "malicious"' + GOOD, "p2 is missing; the protocol 'witnessed' is for p0, p1, p2, dealer"),
        ('security = "malicious"' + FOUR + "[measure]\noffline_first = true\n", "'beaver', not in 'witnessed'; remove"),
        ('security = "malicious"\nprotocol = "beaver"' + GOOD, "'beaver' has security 'semi-honest', 'malicious' is"),
        ('security = "total"' + GOOD, "security: unknown security 'total'; known are semi-honest, malicious"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            load_settings(write(tmp_path, text))


FIVE = FOUR.replace("[tls]", '[dealer2]\naddress = "localhost:7104"\n[tls]')


def test_two_dealers_stand_for_a_protocol(tmp_path: Path) -> None:
    found = load_settings(write(tmp_path, 'security = "malicious"\ndealers = 2' + FIVE))
    assert found.protocol == "witnessed-two-dealers" and tuple(found.parties) == ("p0", "p1", "p2", "dealer", "dealer2")
    named = load_settings(write(tmp_path, 'protocol = "witnessed-two-dealers"\ndealers = 2' + FIVE))
    assert named.parties == found.parties and named.family.security == "malicious"
    assert load_settings(write(tmp_path, 'security = "malicious"\ndealers = 1' + FOUR)).protocol == "witnessed"
    for text, words in (
        ('security = "malicious"\ndealers = 2' + FOUR, "dealer2 is missing"),
        ('security = "malicious"' + FIVE, "dealer2 has no part in the protocol 'witnessed'; remove it"),
        (
            'protocol = "witnessed"\ndealers = 2' + FIVE,
            "'witnessed' has 1 dealers, 2 are asked for; that is 'witnessed-",
        ),
        ('security = "semi-honest"\ndealers = 2' + FIVE, "no protocol with security 'semi-honest' has 2 dealers"),
        ('security = "malicious"\ndealers = 3' + FIVE, "no protocol with security 'malicious' has 3 dealers"),
        ('security = "malicious"\ndealers = 2' + FIVE + '[stock]\ndir = "stock"\n', "nothing is made ahead"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            load_settings(write(tmp_path, text))


def test_a_client_and_an_owner_alone(tmp_path: Path) -> None:
    two = 'protocol = "hybrid"\n' + GOOD[: GOOD.index("[dealer]")] + GOOD[GOOD.index("[tls]") :]
    found = load_settings(write(tmp_path, two + '[stock]\ndir = "stock"\n'))
    assert set(found.parties) == {"p0", "p1"} and found.garbler == "client" and found.stock is not None
    assert load_settings(write(tmp_path, 'garbler = "server"\n' + two)).garbler == "server"
    assert load_settings(write(tmp_path, 'engine = "transfer"\n' + two)).garbler == "nobody"
    assert load_settings(write(tmp_path, 'engine = "garbled"\n' + two)).garbler == "client"
    for text, words in (
        ('garbler = "dealer"\n' + two, "garbler: input should be 'client' or 'server'"),
        ('garbler = "client"\n' + GOOD, "'beaver' garbles no circuits; remove it, or choose the protocol 'hybrid'"),
        ('engine = "transfer"\n' + GOOD, "engine: the protocol 'beaver' garbles no circuits"),
        ('engine = "dealer"\n' + two, "engine: input should be 'garbled' or 'transfer'"),
        ('engine = "transfer"\ngarbler = "client"\n' + two, "nobody garbles; remove one of the two"),
        ('protocol = "hybrid"\n' + GOOD, "dealer has no part in the protocol 'hybrid'; remove it"),
        (two + "[measure]\noffline_first = true\n", "in the protocol 'beaver', not in 'hybrid'; remove it"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            load_settings(write(tmp_path, text))


def test_a_stock_without_a_dealer_is_refused(tmp_path: Path) -> None:
    three = 'protocol = "replicated"\n' + GOOD.replace("dealer", "p2") + '[stock]\ndir = "stock"\n'
    with pytest.raises(ConfigurationError, match="nothing is made ahead"):
        load_settings(write(tmp_path, three))
