"""A set of parties' settings in a folder of their own: certificates, free ports on this machine, `parties.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from secure.parties.config import CALLERS
from secure.parties.launcher import free_addresses
from secure.parties.settings_file import settings_toml
from secure.parties.transport.certificates.making import make_certificates
from secure.protocols.families import DEFAULT, family


def write_settings(
    folder: Path,
    protocol: str = DEFAULT.name,
    *,
    first: str = "",
    more: str = "",
    models_dir: Path | None = None,
    admin: Mapping[str, str] | None = None,
) -> Path:
    """Write all of it into an empty folder; where `parties.toml` is.

    Args:
        first: lines that stand above all tables.
        more: tables beside addresses and folders.
        models_dir: of split models that parties serve from their own disk.
        admin: role → the address of its admin port; none without.
    """
    roles = family(protocol).roles
    make_certificates(folder / "certificates", roles=(*roles, *CALLERS))
    text = settings_toml(free_addresses(roles), folder / "certificates", protocol=protocol, models_dir=models_dir)
    for role, address in (admin or {}).items():
        text = text.replace(f"[{role}]\n", f'[{role}]\nadmin = "{address}"\n')
    path = folder / "parties.toml"
    path.write_text(f"{first}{text}\n{more}", encoding="utf-8")
    return path
