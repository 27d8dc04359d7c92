"""What an audit found, and in one sentence what it would have found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from secure.audit.canaries import MARGIN, Canaries
from secure.audit.running import Entry
from secure.protocols.core.errors import AuditFailed, InputError

CONFIDENCE = 0.99


@dataclass(frozen=True)
class AuditReport:
    """Canaries asked, those answered wrong, the largest difference, and the threshold with what it was made of."""

    asked: int
    wrong: int
    largest: float
    threshold: float
    honest: int

    @property
    def seen_share(self) -> float:
        """The share of spoilt answers that so many canaries would have shown with 99 % confidence.

        Who spoils a share a of all answers without knowing which are canaries spoils none of N of them with
        probability (1 − a)^N; a = 1 − 0.01^(1/N) makes that 1 %.
        """
        return float(1 - (1 - CONFIDENCE) ** (1 / self.asked))

    @property
    def sentence(self) -> str:
        """What follows, in one sentence."""
        if self.wrong:
            return f"{self.wrong} of {self.asked} canaries were answered wrong: this is not the model you took it for."
        share = f"{100 * self.seen_share:.3g} %"
        return (
            f"If {share} of all answers or more had been spoilt, these {self.asked} canaries would have shown it with "
            "99 % confidence; a single spoilt answer that was no canary is not seen."
        )

    def __str__(self) -> str:
        return (
            f"{self.asked} canaries were asked; the largest difference is {self.largest:.2g}. The threshold is "
            f"{self.threshold:.2g}, {MARGIN:g} times the largest of {self.honest} honest answers.\n{self.sentence}"
        )

    def check(self) -> None:
        """Raise AuditFailed where a canary was answered wrong."""
        if self.wrong:
            raise AuditFailed(str(self))


def report(canaries: Canaries, entries: Sequence[Entry]) -> AuditReport:
    """Raises InputError where nothing was asked yet, or the log is of other canaries."""
    if not entries:
        raise InputError("no canary was asked yet: run the audit first")
    if any(not 0 <= entry.canary < len(canaries.canaries) for entry in entries):
        raise InputError("the log is of other canaries: it names one that these do not have")
    distances = [entry.distance for entry in entries]
    wrong = sum(not each <= canaries.threshold for each in distances)
    return AuditReport(len(entries), wrong, max(distances), canaries.threshold, len(canaries.noise))
