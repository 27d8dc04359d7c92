"""The network that parties are measured on: loopback as it is, or one with a given bandwidth and delay.

Bandwidth is real where the machine allows it: every party lives in a network namespace of its own, whose link to a
bridge is shaped in both directions by tc's token bucket (tbf). The client stands on the bridge. Where namespaces are
not permitted, each stream is held to the bandwidth in the channel that receives it.

Delay is always made in the receiving channel, which delivers each frame the delay after it arrived: tc's netem, which
would make it in the network, is missing from many kernels. So acknowledgements come back undelayed, and what a long
line does to TCP itself is not seen.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from secure.models import latency
from secure.models.latency import NetworkLink
from secure.parties.config import CALLERS, PARTIES, Measure
from secure.parties.launcher import Launcher, launch
from secure.parties.settings_file import settings_toml
from secure.parties.transport.certificates.making import make_certificates
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.families import DEFAULT, family

TBF_LABEL = "tc tbf in network namespaces: each party's link, each direction"
CHANNEL_RATE_LABEL = (
    "held back in the receiving channel: each stream, each direction (network namespaces not permitted)"
)
DELAY_LABEL = "sleep before delivery in the receiving channel"
_PORT = 7100
_BURST_SECONDS = 0.004  # a timer tick of a slow kernel: less would cap the rate
_QUEUE_MILLISECONDS = 100


@dataclass(frozen=True)
class Network:
    """A shape: bandwidth of each party's link, delay one way. A round of messages that cross takes one delay."""

    bits_per_second: float = math.inf
    delay_seconds: float = 0.0

    @property
    def measure(self) -> Measure:
        """With everything made in the receiving channel."""
        return Measure(delay_seconds=self.delay_seconds, bytes_per_second=self.bits_per_second / 8)


def _shape(link: NetworkLink) -> Network:
    return Network(link.bits_per_second, link.round_trip_seconds / 2)


NETWORKS = {name: _shape(network.between(*PARTIES[:2])) for name, network in latency.NETWORKS.items()}
"""The networks that `secure cost` knows by name."""


@dataclass(frozen=True)
class Running:
    """Three parties that serve, and what is to be said about their network."""

    launcher: Launcher
    label: dict[str, Any]


@contextmanager
def parties_on(
    name: str,
    scratch: Path,
    *,
    offline_first: bool = False,
    module: str = "secure.parties",
    protocol: str = DEFAULT.name,
    models_dir: Path | None = None,
    memory_bytes: int | None = None,
    device: str | None = None,
) -> Iterator[Running]:
    """Launch the three processes on a network by name. `scratch` is a folder for settings and certificates.

    models_dir: where every party finds its share of a model; without it shares are uploaded.
    memory_bytes: on loopback, as for `secure.parties.launcher.launch`.
    device: what every party computes on, as there.

    Raises ConfigurationError for an unknown name, and what `launch` raises.
    """
    if name not in NETWORKS:
        raise ConfigurationError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}")
    network = NETWORKS[name]
    measure = replace(network.measure, offline_first=offline_first)
    with ExitStack() as stack:
        if network == Network():
            launcher = launch(
                protocol=protocol,
                module=module,
                measure=measure,
                models_dir=models_dir,
                memory_bytes=memory_bytes,
                device=device,
            )
            return (yield Running(stack.enter_context(launcher), {"name": name}))
        namespaces = Namespaces(network.bits_per_second, family(protocol).roles)
        if may_make_namespaces():
            stack.enter_context(namespaces)
            bandwidth = TBF_LABEL
            unlimited = replace(measure, bytes_per_second=math.inf)
            config = _settings(scratch, namespaces.addresses, unlimited, protocol, models_dir)
            launcher = launch(config, module=module, prefixes=namespaces.prefixes, device=device)
        else:
            bandwidth = CHANNEL_RATE_LABEL
            launcher = launch(protocol=protocol, module=module, measure=measure, models_dir=models_dir, device=device)
        stack.enter_context(launcher)
        label = {
            "name": name,
            "bits_per_second": network.bits_per_second,
            "bandwidth": bandwidth,
            "delay_seconds_one_way": network.delay_seconds,
            "delay": DELAY_LABEL,
        }
        yield Running(launcher, label)


def may_make_namespaces() -> bool:
    """Whether this user may make network namespaces with shaped links here; tried, not guessed."""
    try:
        with Namespaces(1e9):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


class Namespaces:
    """One network namespace for each party, on one bridge; removed at the end of the context.

    SIGTERM, which would end the process and leave them behind, ends the context instead, in the main thread.
    """

    def __init__(self, bits_per_second: float, roles: Sequence[str] = PARTIES) -> None:
        self._roles = roles
        self._rate = f"{bits_per_second:.0f}bit"
        self._burst = f"{max(1 << 16, int(bits_per_second / 8 * _BURST_SECONDS))}"
        self._name = f"si{os.getpid()}"
        # 198.18.0.0/15 is set aside for benchmarks of networks.
        self._subnet = f"198.18.{os.getpid() % 256}"
        self.addresses = {role: f"{self._subnet}.{i + 1}:{_PORT}" for i, role in enumerate(roles)}
        self.prefixes = {role: ("ip", "netns", "exec", f"{self._name}-{role}") for role in roles}

    def __enter__(self) -> Namespaces:
        self._before = _set_handler(_terminated)
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._remove()

    def _make(self) -> None:
        bridge = self._name
        _run(f"ip link add {bridge} type bridge")
        _run(f"ip addr add {self._subnet}.254/24 dev {bridge}")
        _run(f"ip link set {bridge} up")
        shape = f"root tbf rate {self._rate} burst {self._burst} latency {_QUEUE_MILLISECONDS}ms"
        for i, role in enumerate(self._roles):
            inside, outside = f"{self._name}-{role}", f"{self._name}-{i}"
            _run(f"ip netns add {inside}")
            _run(f"ip link add {outside} type veth peer name eth0 netns {inside}")
            _run(f"ip link set {outside} master {bridge} up")
            _run(f"ip -n {inside} addr add {self._subnet}.{i + 1}/24 dev eth0")
            _run(f"ip -n {inside} link set lo up")
            _run(f"ip -n {inside} link set eth0 up")
            _run(f"tc -n {inside} qdisc add dev eth0 {shape}")
            _run(f"tc qdisc add dev {outside} {shape}")

    def _remove(self) -> None:
        _set_handler(signal.SIG_IGN)  # whoever asks twice waits for the end of it
        for i, role in enumerate(self._roles):
            # A namespace takes its links along some time after `ip netns del` returned; the next one of this process
            # would find their names taken.
            _run(f"ip link del {self._name}-{i}", check=False)
            _run(f"ip netns del {self._name}-{role}", check=False)
        _run(f"ip link del {self._name}", check=False)
        _set_handler(self._before)


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _set_handler(handler: Any) -> Any:
    """What SIGTERM does from here on. Returns what it did. Threads but the main one cannot choose, and get None."""
    if handler is None or threading.current_thread() is not threading.main_thread():
        return None
    return signal.signal(signal.SIGTERM, handler)


def _run(command: str, check: bool = True) -> None:
    subprocess.run(command.split(), check=check, capture_output=True)


def _settings(
    scratch: Path, addresses: Mapping[str, str], measure: Measure, protocol: str, models_dir: Path | None
) -> Path:
    folder = scratch / ("settings-offline-first" if measure.offline_first else "settings")
    hosts = {role: [address.rsplit(":")[0]] for role, address in addresses.items()}
    make_certificates(folder / "certificates", hosts, days=2, roles=(*addresses, *CALLERS))
    path = folder / "parties.toml"
    text = settings_toml(addresses, folder / "certificates", measure, protocol=protocol, models_dir=models_dir)
    path.write_text(text, encoding="utf-8")
    return path
