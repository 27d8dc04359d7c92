"""What a verifier found and did not find, as a table."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_CANARY = 1e-3
"""A difference of a probability that is far above honest noise: a canary with a stored answer shows it."""


@dataclass(frozen=True)
class AttackFound:
    """Shares of the answers that one attack gave; `reclassified` is None where no changed class was found."""

    name: str
    changed: float
    """They name another class than the honest answer."""
    found: float
    """They raise an alarm."""
    unseen: float
    """They name another class and raise none."""
    reclassified: float | None
    """The verifier names the honest class; of those with another class and an alarm."""
    differs: float
    """A probability differs by more than 0.001 from the honest one: what a canary with a stored answer finds."""


@dataclass(frozen=True)
class Measured:
    """One verifier on honest traffic that it has never seen, and under attacks. It prints as a table."""

    inputs: int
    agreement: float
    """The share of honest answers whose class is also that of the verifier's own network."""
    false_alarms: float
    """The share of honest answers that raise an alarm."""
    attacks: tuple[AttackFound, ...]

    def __str__(self) -> str:
        lines = [
            f"{self.inputs} inputs: the verifier's network agrees with the service on {self.agreement:.1%}; "
            f"{self.false_alarms:.1%} false alarms",
            f"{'attack':44} {'class changed':>13} {'found':>7} {'unseen':>7} {'told right':>10} {'a canary':>8}",
        ]
        for row in self.attacks:
            again = "" if row.reclassified is None else f"{row.reclassified:.1%}"
            lines.append(
                f"{row.name:44} {row.changed:13.1%} {row.found:7.1%} {row.unseen:7.1%} {again:>10} {row.differs:8.1%}"
            )
        return "\n".join(lines)


def attack_found(name: str, honest: Tensor, attacked: Tensor, alarms: Tensor, own_labels: Tensor) -> AttackFound:
    """The shares. Shapes: honest, attacked [N, C]; alarms bool [N]; own_labels int64 [N], what the verifier names."""
    truth = honest.argmax(-1)
    changed = attacked.argmax(-1) != truth
    right = (own_labels == truth)[changed & alarms]
    return AttackFound(
        name,
        changed=_share(changed),
        found=_share(alarms),
        unseen=_share(changed & ~alarms),
        reclassified=_share(right) if len(right) else None,
        differs=_share((attacked - honest).abs().amax(-1) > _CANARY),
    )


def _share(rows: Tensor) -> float:
    return float(rows.to(torch.float64).mean())
