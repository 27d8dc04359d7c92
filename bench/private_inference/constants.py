"""What one making and one answer take of parties and links, and where each such figure is from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bench.private_inference.simulate import DELAY, Stage, System, Use

Garbler = Literal["client", "server"]
How = Literal["measured", "estimated", "published"]
ROLES = ("dealer", "p0", "client", "p1")
"""Who computes, in the order in which a phase has them work. p0 is at the client in protocol "hybrid"."""


@dataclass(frozen=True)
class Work:
    """What a role computes, on at most `width` cores at a time."""

    role: str
    core_seconds: float
    width: float = 1.0


@dataclass(frozen=True)
class Phase:
    """One making or one answer.

    up_bytes: p0 to p1, down_bytes: back, dealt_bytes: from a dealer to p1. rounds: messages that are waited for.
    elapsed: seconds on one idle machine, where they were measured; else all is thought to come one after another.
    """

    work: tuple[Work, ...]
    up_bytes: float = 0.0
    down_bytes: float = 0.0
    dealt_bytes: float = 0.0
    rounds: float = 0.0
    elapsed: float | None = None


@dataclass(frozen=True)
class Constants:
    """A way to do one private inference. kept_bytes: of one making, until its use, by p0 and by p1."""

    name: str
    source: str
    how: How
    offline: Phase
    online: Phase
    kept_bytes: Mapping[str, float]


@dataclass(frozen=True)
class Site:
    """Where the roles run, and what is between them.

    cores: by host. hosts: of each role. bytes_per_second: of the link between p0 and p1, both directions together; 0
    for one without limit. up_share: which part of it leads from p0 to p1. The dealer's link is as fast as all of it.
    round_trip: in seconds.
    """

    cores: Mapping[str, float]
    hosts: Mapping[str, str]
    bytes_per_second: float = 0.0
    up_share: float = 0.5
    round_trip: float = 0.0


def one_machine(cores: float) -> Site:
    """Every role on one machine, as where constants are measured."""
    return Site({"machine": cores}, dict.fromkeys(ROLES, "machine"))


def apart(client_cores: float, server_cores: float, bytes_per_second: float, round_trip: float = 0.0) -> Site:
    """p0 and the client on one host, p1 on another, and a dealer, if any, on a third one like the second."""
    hosts = {"p0": "client", "client": "client", "p1": "server", "dealer": "dealer"}
    return Site(
        {"client": client_cores, "server": server_cores, "dealer": server_cores},
        hosts,
        bytes_per_second,
        round_trip=round_trip,
    )


def best_up_share(constants: Constants) -> float:
    """The share of the link for p0's direction that makes U/u + D/(1 - u) least, for the bytes of both phases:
    sqrt(U) / (sqrt(U) + sqrt(D))."""
    up = (constants.offline.up_bytes + constants.online.up_bytes) ** 0.5
    down = (constants.offline.down_bytes + constants.online.down_bytes) ** 0.5
    return float(up / (up + down)) if up + down else 0.5


def stages(phase: Phase, site: Site) -> tuple[Stage, ...]:
    """The phase as a simulation runs it: computing, then up, down and what is dealt, then what nobody shares.

    Where it was measured how long all of that computing takes, every role is thought to work evenly all that time, so
    that an idle machine takes what was measured; a busy one slows it down where it has too few cores for all.
    """
    elapsed = phase.elapsed
    found: list[Stage] = [(Use(site.hosts[each.role], each.core_seconds, each.width),) for each in phase.work]
    if elapsed is not None:
        found = [
            tuple(Use(site.hosts[each.role], each.core_seconds, each.core_seconds / elapsed) for each in phase.work)
        ]
    if site.bytes_per_second:
        found += [
            (Use("up", phase.up_bytes / (site.up_share * site.bytes_per_second)),),
            (Use("down", phase.down_bytes / ((1 - site.up_share) * site.bytes_per_second)),),
            (Use("dealt", phase.dealt_bytes / site.bytes_per_second),),
        ]
    return (*found, (Use(DELAY, phase.rounds * site.round_trip / 2),))


def system(
    constants: Constants,
    site: Site,
    storage_bytes: Mapping[str, float],
    *,
    pipelines: int = 1,
    sessions: int = 1,
    miss: Literal["demand", "wait"] = "wait",
) -> System:
    """The whole, to be simulated. storage_bytes: by party; one that is not named has no limit of its own."""
    links = {"up": 1.0, "down": 1.0, "dealt": 1.0} if site.bytes_per_second else {}
    return System(
        stages(constants.offline, site),
        stages(constants.online, site),
        {**site.cores, **links},
        slots_of(constants, storage_bytes),
        pipelines,
        sessions,
        miss,
    )


def slots_of(constants: Constants, storage_bytes: Mapping[str, float]) -> int:
    """How many makings both parties have room for."""
    room = (
        storage_bytes[role] // kept for role, kept in constants.kept_bytes.items() if role in storage_bytes and kept
    )
    return int(min(room, default=MOST_SLOTS))


MOST_SLOTS = 10**6
"""In place of no limit."""


def seconds_alone(phase: Phase, site: Site) -> float:
    """What a phase takes where nothing else goes on."""
    return sum(
        max(use.work if use.resource == DELAY else use.work / min(use.width, _cores(use, site)) for use in stage)
        for stage in stages(phase, site)
    )


def measured(record: Mapping[str, Any]) -> Constants:
    """Constants of a record of kind "inference-constants"."""
    garbler = f", {record['garbler']} garbles" if record["garbler"] else ""
    phases = {}
    for name in ("offline", "online"):
        found, sent = record[name], record[name]["sent_bytes"]
        phases[name] = Phase(
            tuple(Work(role, found["core_seconds"][role]) for role in ROLES if found["core_seconds"].get(role)),
            sent.get("p0", 0),
            sent.get("p1", 0),
            record["kept_bytes"]["p1"] if record["protocol"] == "beaver" and name == "offline" else 0,
            found["rounds"],
            found["median_seconds"],
        )
    return Constants(
        f"{record['protocol']}{garbler}: {record['what']}",
        str(record["command"]),
        "measured",
        phases["offline"],
        phases["online"],
        record["kept_bytes"],
    )


def _cores(use: Use, site: Site) -> float:
    return site.cores.get(use.resource, 1.0)
