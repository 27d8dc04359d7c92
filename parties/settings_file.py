"""`parties.toml`: the protocol, where the parties are, their certificates, and the limits they keep.

    protocol = "beaver"             # the default: p0, p1 and dealer; with "replicated" they are p0, p1 and p2
    security = "semi-honest"        # optional; "malicious" stands for protocol = "witnessed": p0, p1, p2 and dealer
    dealers = 1                     # optional; 2 with security = "malicious" alone: a [dealer2] confirms what is dealt
    engine = "garbled"              # optional; with "hybrid" alone, whose parties are p0 and p1: or "transfer"
    garbler = "client"              # optional; with the engine "garbled" alone: or "server"
    [p0]
    address = "127.0.0.1:7100"      # where others reach it
    [p1]
    address = "127.0.0.1:7101"
    listen = "0.0.0.0:7101"         # optional: where it binds, when that differs, as behind NAT or in a container
    device = "cuda"                 # optional: what it computes on; cpu by default, or a graphics card
    admin = "127.0.0.1:9101"        # optional: /metrics, /health and /ready for its operator, without TLS
    [dealer]
    address = "127.0.0.1:7102"
    [tls]
    dir = "certificates"            # relative paths start at this file's folder
    [network]                       # optional: how far the parties are from each other
    profile = "near"                # the default; or far; or auto: p0 measures the way to its peers and names one
    [models]                        # optional: share files that parties serve from their own disk
    dir = "models"
    [limits]                        # optional, see `Limits`
    threads = 1                     # of the tensor library in each party's process
    memory_bytes = 8_000_000_000    # of each party's process; the weights that do not fit are read from disk
    [quota]                         # optional, see `Quota`: of each client, at the party that reads this file
    predictions_per_day = 1000
    [stock]                         # optional, see `secure.parties.stock_settings`
    dir = "stock"
    [measure]                       # optional, for measurements only
    delay_seconds = 0.02

The file is read into a literal that pydantic checks, then frozen into `PartiesSettings`.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from secure.parties.config import (
    EngineName,
    Limits,
    Measure,
    PartiesSettings,
    PartySettings,
    ProfileName,
    Quota,
    split_address,
)
from secure.parties.stock_settings import KeepLiteral, StockLiteral
from secure.protocols.beaver.family import BEAVER
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.core.family import Family
from secure.protocols.core.profile import AUTO
from secure.protocols.families import DEFAULT, chosen, family, those_with


class _Literal(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _PartyLiteral(_Literal):
    address: str
    listen: str | None = None
    device: str = PartySettings.device
    admin: str | None = None


class _FolderLiteral(_Literal):
    dir: str


class _NetworkLiteral(_Literal):
    profile: ProfileName = PartiesSettings.profile


class _LimitsLiteral(_Literal):
    threads: int = Field(Limits.threads, ge=1, le=1024)
    sessions: int = Field(Limits.sessions, ge=1, le=256)
    queue: int = Field(Limits.queue, ge=0, le=4096)
    busy_seconds: float = Field(Limits.busy_seconds, ge=0, le=86400)
    session_seconds: float = Field(Limits.session_seconds, gt=0)
    session_bytes: int | None = Field(Limits.session_bytes, ge=1)
    drain_seconds: float = Field(Limits.drain_seconds, ge=0, le=86400)
    memory_bytes: int | None = Field(Limits.memory_bytes, ge=1)
    rendezvous_seconds: float = Field(Limits.rendezvous_seconds, gt=0, le=600)
    idle_seconds: float = Field(Limits.idle_seconds, gt=0, le=86400)
    share_bytes: int = Field(Limits.share_bytes, ge=1)
    dealer_send_bytes: int = Field(Limits.dealer_send_bytes, ge=1)
    dealer_receive_bytes: int = Field(Limits.dealer_receive_bytes, ge=1)


class _QuotaLiteral(_Literal):
    sessions: int | None = Field(Quota.sessions, ge=1)
    predictions_per_day: int | None = Field(Quota.predictions_per_day, ge=1)
    bytes_per_day: int | None = Field(Quota.bytes_per_day, ge=1)


class _MeasureLiteral(_Literal):
    offline_first: bool = Measure.offline_first
    delay_seconds: float = Field(Measure.delay_seconds, ge=0, le=10)
    bytes_per_second: float = Field(Measure.bytes_per_second, ge=1000)


class _SettingsLiteral(_Literal):
    protocol: str | None = None
    security: str | None = None
    dealers: int | None = None
    engine: EngineName | None = None
    garbler: Literal["client", "server"] | None = None
    p0: _PartyLiteral
    p1: _PartyLiteral
    p2: _PartyLiteral | None = None
    dealer: _PartyLiteral | None = None
    dealer2: _PartyLiteral | None = None
    tls: _FolderLiteral
    network: _NetworkLiteral = _NetworkLiteral()
    models: _FolderLiteral | None = None
    limits: _LimitsLiteral = _LimitsLiteral()
    quota: _QuotaLiteral = _QuotaLiteral()
    measure: _MeasureLiteral = _MeasureLiteral()
    stock: StockLiteral | None = None


_KEYS: Mapping[str, type[BaseModel]] = MappingProxyType(
    {
        "p0": _PartyLiteral,
        "p1": _PartyLiteral,
        "p2": _PartyLiteral,
        "dealer": _PartyLiteral,
        "dealer2": _PartyLiteral,
        "tls": _FolderLiteral,
        "network": _NetworkLiteral,
        "models": _FolderLiteral,
        "limits": _LimitsLiteral,
        "quota": _QuotaLiteral,
        "measure": _MeasureLiteral,
        "stock": StockLiteral,
        "stock.keep": KeepLiteral,
    }
)


def load_settings(path: Path) -> PartiesSettings:
    """The settings in the TOML file at `path`. Raises ConfigurationError that names file and key."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: is not valid TOML: {error}") from None
    return parse_settings(document, path)


def parse_settings(document: Mapping[str, Any], path: Path) -> PartiesSettings:
    """Settings from a parsed TOML document; `path` is its file, which relative paths and error messages refer to."""
    try:
        literal = _SettingsLiteral.model_validate(document)
    except ValidationError as error:
        raise ConfigurationError("; ".join(f"{path}: {_explain(dict(item))}" for item in error.errors())) from None
    folder = path.resolve().parent
    of_family = _family(literal, path)
    parties = _parties(literal, of_family, path)
    for role, party in parties.items():
        for key, address in (("address", party.address), ("listen", party.listen), ("admin", party.admin)):
            if address is not None:
                _check_address(address, f"{path}: {role}.{key}")
    _check_distinct({role: party.address for role, party in parties.items()}, path)
    held = {role: _settings_of(party) for role, party in parties.items()}
    return PartiesSettings(
        parties=MappingProxyType(held),
        tls_dir=folder / literal.tls.dir,
        models_dir=None if literal.models is None else folder / literal.models.dir,
        limits=Limits(**literal.limits.model_dump()),
        quota=Quota(**literal.quota.model_dump()),
        measure=Measure(**literal.measure.model_dump()),
        protocol=of_family.name,
        stock=None if literal.stock is None else literal.stock.settings(folder),
        garbler="nobody" if literal.engine == "transfer" else literal.garbler or PartiesSettings.garbler,
        profile=literal.network.profile,
    )


def _settings_of(party: _PartyLiteral) -> PartySettings:
    return PartySettings(party.address, party.listen or party.address, party.device, party.admin or "")


def _family(literal: _SettingsLiteral, path: Path) -> Family:
    """The protocol that the file names, or that its security and dealers need. Raises ConfigurationError."""
    try:
        return chosen(literal.protocol, literal.security, literal.dealers)
    except ConfigurationError as error:
        key = "protocol" if literal.protocol is not None else "dealers" if literal.security is None else "security"
        raise ConfigurationError(f"{path}: {key}: {error}") from None


def _parties(literal: _SettingsLiteral, of_family: Family, path: Path) -> dict[str, _PartyLiteral]:
    """The parties of the protocol. Raises ConfigurationError when one is missing, or one has no place in it."""
    given = {"p0": literal.p0, "p1": literal.p1, "p2": literal.p2}
    given |= {"dealer": literal.dealer, "dealer2": literal.dealer2}
    parties = {role: party for role in of_family.roles if (party := given[role]) is not None}
    for role, party in given.items():
        if party is not None and role not in of_family.roles:
            raise ConfigurationError(f"{path}: {role} has no part in the protocol {of_family.name!r}; remove it")
        if party is None and role in of_family.roles:
            raise ConfigurationError(
                f"{path}: {role} is missing; the protocol {of_family.name!r} is for {', '.join(of_family.roles)}"
            )
    if literal.measure.offline_first and of_family is not BEAVER:
        raise ConfigurationError(
            f"{path}: measure.offline_first: p1 alone can take in what is dealt before the input, as in the protocol "
            f"{BEAVER.name!r}, not in {of_family.name!r}; remove it"
        )
    for name, value in (("engine", literal.engine), ("garbler", literal.garbler)):
        if value is not None and not of_family.garbles:
            raise ConfigurationError(
                f"{path}: {name}: the protocol {of_family.name!r} garbles no circuits; remove it, or choose the "
                f"protocol {those_with(lambda family: family.garbles)}"
            )
    if literal.engine == "transfer" and literal.garbler is not None:
        raise ConfigurationError(f"{path}: garbler: with the engine 'transfer' nobody garbles; remove one of the two")
    if literal.stock is not None and not of_family.stocks:
        raise ConfigurationError(
            f"{path}: stock: in the protocol {of_family.name!r} nothing is made ahead; remove [stock], or choose the "
            f"protocol {those_with(lambda family: family.stocks)}"
        )
    if literal.stock is not None and literal.measure.offline_first:
        raise ConfigurationError(f"{path}: measure.offline_first: what is in stock was dealt before; remove one")
    if literal.stock is not None and literal.network.profile == AUTO:
        raise ConfigurationError(f"{path}: network.profile: what is dealt ahead is for one profile; name near or far")
    return parties


def settings_toml(
    addresses: Mapping[str, str],
    tls_dir: Path,
    measure: Measure | None = None,
    *,
    protocol: str = DEFAULT.name,
    models_dir: Path | None = None,
    profile: ProfileName = PartiesSettings.profile,
    engine: EngineName | None = None,
) -> str:
    """The text of a `parties.toml` with these addresses, folders, and changes for measurements."""
    lines = [] if protocol == DEFAULT.name else [f'protocol = "{protocol}"\n']
    lines += [] if engine is None else [f'engine = "{engine}"\n']
    lines += [f'[{role}]\naddress = "{addresses[role]}"\n' for role in family(protocol).roles]
    # A TOML literal string takes the path as it is, backslashes included.
    lines.append(f"[tls]\ndir = '{tls_dir}'\n")
    if profile != PartiesSettings.profile:
        lines.append(f'[network]\nprofile = "{profile}"\n')
    if models_dir is not None:
        lines.append(f"[models]\ndir = '{models_dir}'\n")
    if measure is not None:
        values = {name: str(value).lower() for name, value in asdict(measure).items()}
        lines.append("\n".join(["[measure]", *(f"{name} = {value}" for name, value in values.items()), ""]))
    return "\n".join(lines)


def _check_address(address: str, where: str) -> None:
    try:
        split_address(address)
    except ValueError:
        raise ConfigurationError(
            f'{where} is {address!r}; expected "host:port" with a port from 1 to 65535, and nothing before or after it'
        ) from None


def _check_distinct(addresses: Mapping[str, str], path: Path) -> None:
    """Raise ConfigurationError for two parties at one address, where one's certificate would be refused."""
    roles: dict[str, str] = {}
    for role, address in addresses.items():
        other = roles.setdefault(address.lower(), role)
        if other != role:
            raise ConfigurationError(f"{path}: {role}.address is {address!r}, as {other}.address is; give each its own")


def _explain(item: dict[str, Any]) -> str:
    """One of pydantic's findings in words, with the nearest known key when the key is unknown."""
    location = [str(part) for part in item["loc"]]
    key = ".".join(location)
    if item["type"] == "missing":
        return f"{key} is missing"
    if item["type"] != "extra_forbidden":
        return f"{key}: {item['msg'][0].lower()}{item['msg'][1:]}"
    table = ".".join(part for part in location[:-1] if not part.isdigit())
    known = list(_KEYS[table].model_fields) if table else [key for key in _KEYS if "." not in key]
    nearest = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known keys: {', '.join(known)}"
    return f"unknown key {key!r}; {hint}"
