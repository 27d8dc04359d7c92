"""What the red team's results allow to be claimed, by threat tier and configuration.

`red_team.json` is written by `python -m bench attack` and by nothing else. A tier that it shows broken for a
configuration is refused, with its figure. Where there is no result nothing is claimed, and a notice says so; T2, a
server that has the base weights, is refused then, since exact encryption hides essentially nothing from it.
Whoever needs no tier says so ("none"), and is told what was broken.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from secure.ee.files.manifest import TIERS, Assumption, Tier
from secure.protocols.core.errors import ConfigurationError

RED_TEAM = Path(__file__).with_name("red_team.json")
_FORMAT = 1
_CONFIGURATIONS = ("permutation", "full", "noise", "finetuned", "split")
TIER_WORDS: Mapping[Tier, str] = {
    "T0": "an observer of wire or logs",
    "T1": "a server without the base weights",
    "T2": "a server that has the base weights",
}


@dataclass(frozen=True)
class Claim:
    """What was measured. status "unknown": nothing; "unclaimed": none is needed, the figure is the weakest tier's."""

    status: Literal["held", "limited", "broken", "unknown", "unclaimed"]
    figure: str = ""
    tokens_limit: int | None = None
    """Most tokens under one key and epoch at which no attack passed the threshold; None: no attack needs traffic."""

    @property
    def notice(self) -> str:
        """A sentence for users."""
        if self.status == "unknown":
            return "Nothing is claimed: there is no red-team result for this tier and configuration."
        if self.status == "unclaimed":
            told = f" A mere observer's strongest attack: {self.figure}." if self.figure else ""
            return f"Nothing is claimed.{told}"
        if self.status == "limited":
            return (
                f"At most {self.tokens_limit:,} tokens under one key and epoch, then rekey. "
                f"The strongest attack: {self.figure}."
            )
        return f"The strongest attack: {self.figure}."


class _Verdict(BaseModel):
    model_config = ConfigDict(extra="ignore")
    status: Literal["held", "limited", "broken"]
    figure: str
    tokens_limit: int | None = None


class _Results(BaseModel):
    model_config = ConfigDict(extra="ignore")
    format: Literal[1]
    verdicts: dict[str, dict[str, _Verdict]]


def configuration_name(*, full: bool, noise: float, fine_tuned: bool, split: bool, path: Path | None = None) -> str:
    """The row of the results that a transform belongs to: the weakest that describes it.

    full: whether all factors of the family are used. fine_tuned: whether the weights drifted secretly from public ones.
    path: results; None is the shipped file.
    """
    if not full:
        return "permutation"
    if split:
        return "split"
    if fine_tuned:
        return "finetuned"
    # Less noise than was attacked counts as none.
    return "noise" if 0 < _noise_attacked(path) <= noise else "full"


def find(tier: Tier, configuration: str, path: Path | None = None) -> Claim:
    """What was measured for a tier and configuration. Raises ConfigurationError for results that cannot be read."""
    if tier not in TIERS:
        raise ConfigurationError(f"the tier is one of {', '.join(TIERS)}, not {tier!r}")
    document = _read(path)
    if document is None:
        return Claim("unknown")
    try:
        verdict = _Results.model_validate(document).verdicts.get(tier, {}).get(configuration)
    except ValidationError:
        raise ConfigurationError(
            f"{path or RED_TEAM} is not of format {_FORMAT}; run python -m bench attack again"
        ) from None
    if verdict is None:
        return Claim("unknown")
    limited = verdict.status == "limited"
    if limited and not verdict.tokens_limit:
        return Claim("broken", verdict.figure)
    return Claim(verdict.status, verdict.figure, verdict.tokens_limit if limited else None)


def require(tier: Assumption, configuration: str, path: Path | None = None) -> Claim:
    """The claim that holds for what the user assumes. Raises ConfigurationError when it is broken, with the figure."""
    if tier == "none":
        return Claim("unclaimed", find("T0", configuration, path).figure)
    claim = find(tier, configuration, path)
    who = f"{tier} ({TIER_WORDS[tier]})"
    if claim.status == "broken":
        raise ConfigurationError(
            f"configuration {configuration!r} is broken at {who}: {claim.figure}; {_instead(tier, configuration, path)}"
        )
    if claim.status == "unknown" and tier == "T2":
        raise ConfigurationError(
            f"nothing shows that configuration {configuration!r} holds at {who}, and exact encryption hides "
            "essentially nothing there; assume a lower tier only if the server does not have the base weights"
        )
    return claim


def strongest(configuration: str, path: Path | None = None) -> Assumption:
    """The strongest tier that the red team tried and did not break; T0 where it tried none, "none" where all broke."""
    tried = [tier for tier in TIERS if _stands(tier, configuration, path)]
    if tried:
        return tried[-1]
    return "none" if find("T0", configuration, path).status == "broken" else "T0"


def _stands(tier: Tier, configuration: str, path: Path | None) -> bool:
    return find(tier, configuration, path).status in ("held", "limited")


def _instead(tier: Tier, configuration: str, path: Path | None) -> str:
    """What else there is, in a sentence."""
    others = [name for name in _CONFIGURATIONS if _stands(tier, name, path)]
    lower = [other for other in TIERS[: TIERS.index(tier)] if _stands(other, configuration, path)]
    said = []
    if others:
        said.append(f"at {tier} stands configuration {' or '.join(map(repr, others))}")
    if lower:
        said.append(f"with this configuration {lower[-1]} stands, {TIER_WORDS[lower[-1]]}")
    return f"{'; '.join(said) or 'nothing stands here'}; else use shares (secure split), or assume none"


def _noise_attacked(path: Path | None) -> float:
    document = _read(path)
    value = None if document is None else document.get("noise_level")
    return float(value) if isinstance(value, int | float) else 0.0


def _read(path: Path | None) -> dict[str, Any] | None:
    path = path or RED_TEAM
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}; install this package again") from None
    return document if isinstance(document, dict) else {}
