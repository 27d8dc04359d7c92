"""Processes are killed at marked points while something is stocked or used, one point after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from bench.kills import party
from bench.kills.campaign import Outcome, sent_by
from bench.kills.parties import COMPARED, SERVES, KeptParties
from bench.kills.supervisor import KILLED
from secure.parties.client.operator import Operator
from secure.protocols.core.errors import SecureInferenceError


def kill_at_each(
    parties: KeptParties,
    folder: Path,
    cases: Sequence[tuple[str, str]],
    *,
    holders: Sequence[str],
    fill: Callable[[int], None],
    use: Callable[[], None],
) -> None:
    """Kill a role at a point, for each of `cases`; at most one of the stock is lost each time, and none is used twice.

    Args:
        cases: role and point; before each, something is in all stocks.
        holders: the roles that keep what is stocked.
        fill: stocks so many more at the holders.
        use: takes one from the stock, and checks the answer.
    """
    lost = 0
    for role, point in cases:
        missing = 2 - len(_in_all(parties, holders))
        if missing > 0:
            fill(missing)
        before = _in_all(parties, holders)
        killed, serves, compared = (parties.times(*of) for of in ((role, KILLED), (role, SERVES), ("p0", COMPARED)))
        marker = folder / f"{role}.kill"
        marker.write_text(point, encoding="utf-8")
        with suppress(SecureInferenceError):
            if any(point.endswith(name) for name in party.FILLING):
                fill(1)
            else:
                use()
        assert not marker.exists(), f"{role} did not come to the point {point!r}"
        parties.wait_until(role, KILLED, killed + 1)
        parties.wait_until(role, SERVES, serves + 1)
        parties.wait_until("p0", COMPARED, compared + 1)
        left = _in_all(parties, holders)
        assert len(before - left) <= 1 and len(left - before) <= 1
        lost += len(before - left)
    assert 0 < lost <= len(cases)
    use()


def check_none_used_twice(folder: Path, holders: Sequence[str]) -> None:
    """Compare what the first holder sent with what each other one did, by the records of their traffic."""
    first, *others = (sent_by(folder, role) for role in holders)
    for other in others:
        found = Outcome()
        found.compare(first, other)
        assert found.sent > 1 and (found.used_twice, found.unpaired) == (0, 0)


def _in_all(parties: KeptParties, holders: Sequence[str]) -> set[str]:
    found = [{row["name"] for row in Operator(parties.settings, role).stock("names")} for role in holders]
    return set.intersection(*found)
