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
from secure.parties.client.client import Client
from secure.parties.config import CALLERS, PartiesSettings, load_settings, split_address
from secure.parties.transport.tls import check_certificates
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
    if settings.models_dir is None:
        return
    manifests = [*settings.models_dir.glob("manifest.json"), *settings.models_dir.glob("*/manifest.json")]
    shares = sorted({path.name for manifest in manifests for path in manifest.parent.glob("p[012].safetensors")})
    if not manifests:
        yield Check("models", "note", f"no split model in {settings.models_dir}; clients must upload theirs")
    else:
        held = ", ".join(shares) or "no shares"
        yield Check("models", "ok", f"{len(manifests)} in {settings.models_dir}, with {held}")


def _peers(settings: PartiesSettings) -> Iterator[Check]:
    """Whether every party can be reached and serves, as far as the certificates here allow to ask."""
    caller = next((role for role in ("client", "owner") if (settings.tls_dir / f"{role}.key").is_file()), None)
    health: dict[str, str] = {}
    if caller is not None:
        try:
            with Client(settings, caller) as client:
                health = client.health(_CONNECT_SECONDS)
        except SecureInferenceError as error:
            yield Check(f"certificate {caller}", "fail", str(error))
    for role in settings.parties:
        yield _peer(role, settings.parties[role].address, health.get(role))


def _peer(role: str, address: str, health: str | None) -> Check:
    what = f"{role} at {address}"
    if health == "serving":
        return Check(what, "ok", "reachable, and serving")
    try:
        with socket.create_connection(split_address(address), timeout=_CONNECT_SECONDS):
            pass
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        free = "; its port is free on this host" if _can_listen(address) else ""
        return Check(what, "fail", f"not reachable: {reason}{free}; start it there with: secure party {role}")
    if health is None:
        return Check(what, "note", "the port answers; whether it is the party, only a client's certificate can tell")
    return Check(what, "fail", f"its port is in use, but not by a party that accepts us: {health}")


def _can_listen(address: str) -> bool:
    """Whether the address is one of this host, with a free port."""
    host, port = split_address(address)
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError:
        return False
    return True
