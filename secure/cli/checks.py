"""Checks an installation, and a parties.toml from where one stands: one finding a line."""

from __future__ import annotations

import os
import platform
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import Literal

from cryptography import x509
from packaging.requirements import Requirement

from secure.demo.sample import MODEL_NAME, MODEL_PACKAGE
from secure.models.checkpoint.conversion import read_manifest, read_share
from secure.models.contract.manifest import Manifest
from secure.models.storage.capacity import human_bytes, plan_room
from secure.parties.client.client import Client
from secure.parties.config import CALLERS, PartiesSettings, split_address
from secure.parties.roles import memory
from secure.parties.settings_file import load_settings
from secure.parties.transport.certificates.own import check_certificates
from secure.parties.transport.tls_failures import why_not
from secure.protocols.core.errors import SecureInferenceError

Verdict = Literal["ok", "note", "fail"]
DISTRIBUTION = "secure-inference"
_OLDEST_PYTHON = (3, 11)
_CONNECT_SECONDS = 3.0
# When this version was made: a clock before it is wrong.
_RELEASED = 1_735_689_600  # 2025-01-01
_SOON_DAYS = 14


@dataclass(frozen=True)
class Check:
    """What was checked, whether it is well, and what was found. A note is no failure."""

    what: str
    verdict: Verdict
    detail: str


def examine(config: Path | None) -> list[Check]:
    """Every check. Without a configuration those of the installation alone."""
    findings = [*_installation(), _clock()]
    if config is None:
        return [*findings, _loopback()]
    try:
        settings = load_settings(config)
    except SecureInferenceError as error:
        return [*findings, Check("configuration", "fail", str(error))]
    findings.append(Check("configuration", "ok", str(config)))
    return [*findings, *_certificates(settings), *_models(settings), *_peers(settings)]


def _installation() -> Iterator[Check]:
    version = platform.python_version()
    enough = sys.version_info >= _OLDEST_PYTHON
    yield Check("python", "ok" if enough else "fail", version if enough else f"{version}; 3.11 or newer is needed")
    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield Check(DISTRIBUTION, "note", "runs from its folder, not installed; versions are not checked")
        return
    for requirement in map(Requirement, requirements):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield _requirement(requirement)
    present = util.find_spec(MODEL_PACKAGE) is not None
    detail = "installed" if present else "not installed; secure demo needs it (the extra 'demo')"
    yield Check(f"model {MODEL_NAME}", "ok" if present else "note", detail)


def _requirement(requirement: Requirement) -> Check:
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Check(requirement.name, "fail", f"not installed; {requirement} is needed")
    if not requirement.specifier.contains(version, prereleases=True):
        return Check(requirement.name, "fail", f"{version}; {requirement} is needed")
    return Check(requirement.name, "ok", version)


def _clock() -> Check:
    now = time.time()
    text = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < _RELEASED:
        return Check("clock", "fail", f"{text} is before this software was made; certificates will be refused")
    return Check("clock", "ok", text)


def _loopback() -> Check:
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as error:
        return Check("loopback", "fail", f"no port can be opened on 127.0.0.1: {error.strerror}")
    return Check("loopback", "ok", "a port can be opened on 127.0.0.1")


def _certificates(settings: PartiesSettings) -> Iterator[Check]:
    """A host holds the certificates of its own roles; whichever are there must be right."""
    folder = settings.tls_dir
    due = (*settings.parties, *CALLERS)
    roles = tuple(role for role in due if (folder / f"{role}.crt").exists() or (folder / f"{role}.key").exists())
    if not roles:
        yield Check("certificates", "fail", f"none in {folder}; make them with: secure certs --out {folder}")
        return
    wrong = check_certificates(folder, roles)
    for role in roles:
        own = [finding.removeprefix(f"{role}: ") for finding in wrong if finding.startswith(f"{role}: ")]
        if own:
            yield Check(f"certificate {role}", "fail", "; ".join(own))
        else:
            yield _dates(role, folder / f"{role}.crt")
    if len([role for role in roles if role in settings.parties]) > 1:
        yield Check("key separation", "note", "this host has keys of several parties; on three hosts each has its own")
    mode = folder.stat().st_mode & 0o777
    if os.name == "posix" and mode & 0o077:
        yield Check("certificate folder", "note", f"mode {mode:o}; others can list it (chmod 700 {folder})")


def _dates(role: str, path: Path) -> Check:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    days = int((end.timestamp() - time.time()) // 86400)
    detail = f"valid {begin:%Y-%m-%d} to {end:%Y-%m-%d}, {days} days left"
    return Check(f"certificate {role}", "ok" if days >= _SOON_DAYS else "note", detail)


def _models(settings: PartiesSettings) -> Iterator[Check]:
    """The manifests here, and for each the share of every party whose key is here."""
    if settings.models_dir is None:
        return
    manifests = sorted([*settings.models_dir.glob("manifest.json"), *settings.models_dir.glob("*/manifest.json")])
    if not manifests:
        yield Check("models", "note", f"no split model in {settings.models_dir}; clients must upload theirs")
    for path in manifests:
        try:
            manifest = read_manifest(path.parent)
        except (SecureInferenceError, OSError, UnicodeDecodeError) as error:
            yield Check(f"model {path.parent.name}", "fail", f"{error}; copy it again, with its shares")
            continue
        what = f"model {path.parent.name} ({manifest.digest[:12]})"
        if manifest.protocol != settings.protocol:
            yield Check(what, "fail", f"split for {manifest.protocol!r}, parties.toml says {settings.protocol!r}")
            continue
        yield Check(what, "ok", f"{manifest.architecture}, weights {manifest.weights}")
        for role in settings.parties:
            if (settings.tls_dir / f"{role}.key").is_file():
                yield from _share(manifest, path.parent / f"{role}.safetensors", role, settings)


def _share(manifest: Manifest, path: Path, role: str, settings: PartiesSettings) -> Iterator[Check]:
    """A party's share file against the manifest, and the party's memory against both."""
    if role in settings.family.computing:
        if not path.is_file():
            yield Check(
                f"share of {role}", "fail", f"{path} is missing; copy it there from the split, or clients upload"
            )
        else:
            try:
                read_share(path, manifest, role)
                yield Check(f"share of {role}", "ok", f"{path.name} is the one that the manifest describes")
            except SecureInferenceError as error:
                yield Check(f"share of {role}", "fail", f"{error}; copy both again, from one split")
    free = memory.free_bytes(settings.limits.memory_bytes)
    if free is None:
        return
    try:
        room = plan_room(manifest, role, free, memory.scratch_folder(), digits=False)
    except SecureInferenceError as error:
        yield Check(f"memory of {role}", "fail", f"{error}; raise [limits] memory_bytes, or free some")
        return
    if room.disk_bytes:
        detail = f"{human_bytes(free)} may be taken; {human_bytes(room.disk_bytes)} of weights are read from disk"
        yield Check(f"memory of {role}", "note", detail)
    else:
        yield Check(f"memory of {role}", "ok", f"{human_bytes(free)} may be taken; the model fits")


def _peers(settings: PartiesSettings) -> Iterator[Check]:
    """Whether every party can be reached and serves, as far as the certificates here allow to ask."""
    roles = ("client", "owner", *settings.parties)
    here = [role for role in roles if (settings.tls_dir / f"{role}.crt").is_file()]
    caller = next((role for role in here if not check_certificates(settings.tls_dir, (role,))), None)
    if caller is None:
        yield Check("parties", "note", "not asked: that takes a certificate and key that are well, see above")
        return
    wrong = {
        role: why_not(settings.tls_dir, caller, role, party.address, _CONNECT_SECONDS)
        for role, party in settings.parties.items()
    }
    health: dict[str, str] = {}
    # Parties answer nobody else. The others are not asked: gRPC would write what it met to the terminal.
    there = [role for role, reason in wrong.items() if reason is None]
    if caller in ("client", "owner") and there:
        with Client(settings, caller) as client:
            health = client.health(_CONNECT_SECONDS, there)
    for role, party in settings.parties.items():
        what, reason = f"{role} at {party.address}", wrong[role]
        if reason is not None:
            free = "; its port is free on this host" if _can_listen(party.address) else ""
            yield Check(what, "fail", reason + free)
        elif not health:
            yield Check(what, "ok", f"reachable; it and {caller} accept each other's certificate")
        elif health[role] == "serving":
            yield Check(what, "ok", "reachable, and serving")
        else:
            yield Check(
                what, "fail", "its certificate is right, but it does not serve; its log says why, or restart it"
            )


def _can_listen(address: str) -> bool:
    """Whether the address is one of this host, with a free port."""
    host, port = split_address(address)
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError:
        return False
    return True
