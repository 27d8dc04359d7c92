"""How long a session takes, predicted from its price and the network between the parties.

    seconds = trips x one-way delay + constant + what the client sends and gets / bandwidth + layers
    layer   = crossings x rounds x one-way delay + bytes of a party / bandwidth + share x dealt bytes / bandwidth
              + compute
    compute = a x rounds + b x bytes + c x multiplications

and never less than what all bytes take that come in at one party. What parties send they wait for; what a dealer sends
comes ahead and hides behind the rest, but for a `share`. Some of three parties' rounds hide behind others, which
`crossings` says. Trips are counted: a test follows every message of a session. Constants are fitted to measurements, by
`python -m bench latency`, on the machine that latency.json names, with all roles on it. Another machine has other ones:
where a network's file says how fast hosts are, a, b and c are multiplied by what the slowest takes longer, by the
kernels of `secure.models.speed`, than the machine of the fit.
"""

from __future__ import annotations

import difflib
import itertools
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from secure.models.price import Amount, Price
from secure.models.speed import Speed
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.families import DEFAULT, family

FILE = Path(__file__).with_name("latency.json")
CLIENT = "client"
SESSION_TRIPS: Mapping[str, int] = {
    "beaver": 6,
    "replicated": 5,
    "witnessed": 7,
    "witnessed-two-dealers": 10,
    "hybrid": 5,
}
"""By family, the one-way trips of a session beside its rounds, each of which waits for the one before: Hello, Accept
and input; the dealer's answer to that; the output with the parties' farewell, and their reports."""


@dataclass(frozen=True)
class NetworkLink:
    """The way between two machines: seconds there and back, and bits a second in each direction."""

    round_trip_seconds: float = 0.0
    bits_per_second: float = math.inf

    def seconds(self, size_bytes: float) -> float:
        """What so many bytes take, one way, once they flow."""
        return 8 * size_bytes / self.bits_per_second


@dataclass(frozen=True)
class PartyNetwork:
    """The links between roles. every: the link of each pair that is not in `links`; without it, the slowest of them.

    hosts: how fast machines are, by role, where that is known.
    """

    name: str
    links: Mapping[frozenset[str], NetworkLink]
    every: NetworkLink | None = None
    hosts: Mapping[str, Speed] = field(default_factory=dict)

    def between(self, one: str, other: str) -> NetworkLink:
        """The link of two roles. Raises ConfigurationError for parties that the network's file does not name."""
        found = self.links.get(frozenset((one, other)), self.every)
        if found is None and CLIENT in (one, other):
            found = NetworkLink(
                max(link.round_trip_seconds for link in self.links.values()),
                min(link.bits_per_second for link in self.links.values()),
            )
        if found is None:
            raise ConfigurationError(
                f"{self.name}: there is no link between {one} and {other}; secure doctor --config parties.toml "
                "--measure FILE measures all of them"
            )
        return found


NETWORKS = {
    name: PartyNetwork(name, {}, link)
    for name, link in {
        "loopback": NetworkLink(),
        "lan": NetworkLink(1e-3, 1e9),
        "wan": NetworkLink(40e-3, 200e6),
    }.items()
}
"""One machine; 1 Gbps and 1 ms; 200 Mbps and 40 ms, there and back."""


def find_network(name: str) -> PartyNetwork:
    """A network by its name, or from the file of that name, as `network_toml` writes it.

    Raises ConfigurationError for a name that is neither, and for a file that is not such.
    """
    if name in NETWORKS:
        return NETWORKS[name]
    path = Path(name)
    if not path.is_file():
        raise ConfigurationError(f"{name!r} is no file and no known network: {', '.join(NETWORKS)}")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read as TOML: {error}") from None
    _check_keys(path, content, ("link", "host"))
    if not isinstance(content.get("link"), list) or not content["link"]:
        raise ConfigurationError(f"{path} has no [[link]]; secure doctor --measure writes one for each two machines")
    if not isinstance(content.get("host", []), list):
        raise ConfigurationError(f"{path}: host is {content['host']!r}; it is [[host]], once for each role")
    hosts = dict(_host(path, entry) for entry in content.get("host", []))
    return PartyNetwork(str(path), dict(_link(path, entry) for entry in content["link"]), hosts=hosts)


def network_toml(
    links: Mapping[frozenset[str], NetworkLink], comment: str, hosts: Mapping[str, Speed] | None = None
) -> str:
    """The text of a network's file. comment: of one line, or more."""
    lines = [f"# {line}" for line in comment.splitlines()]
    for one, other in sorted(tuple(sorted(pair)) for pair in links):
        link = links[frozenset((one, other))]
        lines += [
            "",
            "[[link]]",
            f'between = ["{one}", "{other}"]',
            f"round_trip_seconds = {link.round_trip_seconds:.6g}",
            f"bits_per_second = {link.bits_per_second:.4g}",
        ]
    for role, speed in sorted((hosts or {}).items()):
        lines += [
            "",
            "[[host]]",
            f'role = "{role}"',
            *(f"{name} = {value:.4g}" for name, value in asdict(speed).items()),
        ]
    return "\n".join(lines) + "\n"


_FIELDS = ("between", "round_trip_seconds", "bits_per_second")


def _link(path: Path, entry: object) -> tuple[frozenset[str], NetworkLink]:
    if not isinstance(entry, dict):
        raise ConfigurationError(f"{path}: [[link]] is {entry!r}; it is a table")
    _check_keys(path, entry, _FIELDS)
    between = entry.get("between")
    if not isinstance(between, list) or len(set(map(str, between))) != 2:
        raise ConfigurationError(f"{path}: between is {between!r}; it names two roles")
    pair = " and ".join(between)
    delay, rate = (_number(path, entry, name, pair) for name in _FIELDS[1:])
    if not rate:
        raise ConfigurationError(f"{path}: bits_per_second of {pair} is zero")
    return frozenset(between), NetworkLink(delay, rate)


_SPEED = tuple(each.name for each in fields(Speed))


def _host(path: Path, entry: object) -> tuple[str, Speed]:
    if not isinstance(entry, dict) or not isinstance(entry.get("role"), str):
        raise ConfigurationError(f"{path}: [[host]] is {entry!r}; it is a table with the name of a role")
    _check_keys(path, entry, ("role", *_SPEED))
    return entry["role"], Speed(*(_number(path, entry, name, entry["role"]) for name in _SPEED))


def _number(path: Path, entry: Mapping[str, Any], name: str, of: str) -> float:
    number = entry.get(name)
    if isinstance(number, bool) or not isinstance(number, int | float) or not number >= 0:
        raise ConfigurationError(f"{path}: {name} of {of} is {number!r}; it is a number")
    return float(number)


def _check_keys(path: Path, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            advice = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise ConfigurationError(f"{path}: unknown key {key!r}; {advice}")


@dataclass(frozen=True)
class Constants:
    """What was fitted for one family: see above."""

    session_seconds: float
    round_seconds: float
    byte_seconds: float
    multiplication_seconds: float
    dealer_share: float
    crossings: float

    def compute_seconds(self, protocol: str, amount: Amount) -> float:
        """One role's work."""
        return (
            self.round_seconds * amount.rounds
            + self.byte_seconds * incoming_bytes(protocol, amount)
            + self.multiplication_seconds * amount.multiplications
        )

    def on(self, hosts: Iterable[Speed], reference: Speed) -> Constants:
        """Those of parties on such hosts, in place of the reference. All wait for the slowest at each kind of work."""
        known = [asdict(host) for host in hosts]
        if not known:
            return self
        slowest = {name: max(host[name] for host in known) / value for name, value in asdict(reference).items()}
        return replace(self, **{name: getattr(self, name) * by for name, by in slowest.items()})


def incoming_bytes(protocol: str, amount: Amount) -> float:
    """What comes in at the party that gets most."""
    return amount.online_bytes / len(family(protocol).computing) + amount.dealer_bytes


@cache
def fitted_constants() -> Mapping[str, Constants]:
    """The committed constants, by family."""
    content = json.loads(FILE.read_text(encoding="utf-8"))
    return {name: Constants(**values) for name, values in content["families"].items()}


@cache
def reference_speed() -> Speed:
    """What the kernels took on the machine of the fit."""
    return Speed(**json.loads(FILE.read_text(encoding="utf-8"))["kernels"])


def is_fitted(protocol: str) -> bool:
    """Whether runs of that family were measured."""
    return protocol in fitted_constants()


def constants(protocol: str) -> Constants:
    """Those of a family. One that nobody has measured is taken for the default one, once for each program it runs."""
    found = fitted_constants().get(protocol)
    if found is not None:
        return found
    known, sides = fitted_constants()[DEFAULT.name], family(protocol).sides
    return replace(
        known,
        round_seconds=sides * known.round_seconds,
        byte_seconds=sides * known.byte_seconds,
        multiplication_seconds=sides * known.multiplication_seconds,
    )


@dataclass(frozen=True)
class PredictedSeconds:
    """Seconds of one session by layer, and of its beginning and end; seconds that each role computes.

    least: what all bytes take that come in at one party, which wait for each other where the network is slow.
    """

    layers: Mapping[str, float]
    session: float
    compute: float
    least: float

    @property
    def summed(self) -> float:
        """What layers, beginning and end take one after the other."""
        return self.session + sum(self.layers.values())

    @property
    def total(self) -> float:
        """From the client's tensors to its result."""
        return max(self.summed, self.least)


def predict(price: Price, network: PartyNetwork, fitted: Constants | None = None) -> PredictedSeconds:
    """How long a session takes. fitted: other constants than the committed ones, of these very hosts.

    Raises ConfigurationError for a network without the links that the family needs.
    """
    protocol = price.protocol
    hosts = [network.hosts[role] for role in family(protocol).computing if role in network.hosts]
    chosen = fitted or constants(protocol).on(hosts, reference_speed())
    layers = {layer: layer_seconds(protocol, amount, network, chosen) for layer, amount in price.layers.items()}
    client = [network.between(CLIENT, role) for role in family(protocol).computing]
    slowest = min(client, key=lambda link: link.bits_per_second)
    delay = max(link.round_trip_seconds for link in (*client, *_pairs(protocol, network))) / 2
    trips = SESSION_TRIPS[protocol] * delay
    session = chosen.session_seconds + trips + slowest.seconds(price.sent_bytes + price.answer_bytes)
    least = sum(_transfers(protocol, price.total, network))
    return PredictedSeconds(layers, session, chosen.compute_seconds(protocol, price.total), least)


def layer_seconds(protocol: str, amount: Amount, network: PartyNetwork, chosen: Constants) -> float:
    """What one layer takes. It is linear in the amount, so that layers can be priced one by one."""
    pairs = _pairs(protocol, network)
    delay = sum(link.round_trip_seconds for link in pairs) / len(pairs) / 2
    online, dealt = _transfers(protocol, amount, network)
    return (
        chosen.crossings * amount.rounds * delay
        + online
        + chosen.dealer_share * dealt
        + chosen.compute_seconds(protocol, amount)
    )


def _transfers(protocol: str, amount: Amount, network: PartyNetwork) -> tuple[float, float]:
    """Seconds of what comes in at a party, from the others and from the dealer."""
    roles, pairs = family(protocol), _pairs(protocol, network)
    each = amount.online_bytes / len(roles.computing)
    online = sum(link.seconds(each) for link in pairs) / len(pairs)
    dealt = network.between("dealer", "p1").seconds(amount.dealer_bytes) if "dealer" in roles.roles else 0.0
    return online, dealt


def round_trip_seconds(protocol: str, network: PartyNetwork) -> float:
    """The longest way there and back from p0 to another computing role, by which parties name their profile."""
    first, *others = family(protocol).computing
    return max(network.between(first, other).round_trip_seconds for other in others)


def _pairs(protocol: str, network: PartyNetwork) -> list[NetworkLink]:
    return [network.between(*pair) for pair in itertools.combinations(family(protocol).computing, 2)]
