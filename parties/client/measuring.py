"""The links between the machines of a parties.toml, as they are seen from one of them, and the file of all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from secure.models.latency import CLIENT, NetworkLink, find_network, network_toml
from secure.models.speed import Speed, measure_speed
from secure.parties.config import PartiesSettings
from secure.parties.session import probe
from secure.parties.settings_file import load_settings
from secure.parties.transport.certificates.own import check_certificates
from secure.parties.transport.dialer import Dialer
from secure.protocols.core.errors import ConfigurationError

COMMENT = """Round trips and bandwidths between machines of a parties.toml, and seconds of kernels on each of them, by
secure doctor --measure.
Run it on every host, with the others' file, so that it has every pair; secure cost --network reads it."""


def measure(config: Path, path: Path) -> tuple[dict[frozenset[str], NetworkLink], dict[str, Speed]]:
    """Measure from each role whose certificate is here to every party, and how fast this machine is for the parties
    among them; add that to what the file has already.

    Returns what was measured. Raises ConfigurationError where no role of a session has its certificate here, and what
    `measure_links` raises.
    """
    settings = load_settings(config)
    before = find_network(str(path)) if path.is_file() else None
    known, known_hosts = (dict(before.links), dict(before.hosts)) if before else ({}, {})
    folder = settings.tls_dir
    here = [role for role in (*settings.parties, CLIENT) if (folder / f"{role}.key").is_file()]
    here = [role for role in here if not check_certificates(folder, (role,))]
    if not here:
        raise ConfigurationError(f"{folder} has no certificate and key of a party or client that are well")
    found: dict[frozenset[str], NetworkLink] = {}
    for role in here:
        peers = [peer for peer in settings.parties if peer != role and frozenset((role, peer)) not in found]
        found |= measure_links(settings, role, peers)
    hosts = dict.fromkeys((role for role in here if role in settings.parties), measure_speed())
    written = path.with_name(f"{path.name}.writing")
    written.write_text(network_toml(known | found, COMMENT, known_hosts | hosts), encoding="utf-8")
    os.replace(written, path)
    return found, hosts


def measure_links(settings: PartiesSettings, role: str, peers: Sequence[str]) -> dict[frozenset[str], NetworkLink]:
    """From a role, whose certificate is here, to each of the peers.

    Raises PartyUnreachable for one that does not answer, or that is older than this stream, and what it reports.
    """
    dialer = Dialer(settings, role)
    try:
        return {frozenset((role, peer)): probe.measure(probe.asked(dialer, settings.protocol, peer)) for peer in peers}
    finally:
        dialer.close()
