"""Which of several reported errors is the cause.

When one role dies, everybody else loses somebody: p0's death makes p1 lose p0, and p1's giving up makes the dealer lose
p1. The client names the role at the root.
"""

from __future__ import annotations

from collections.abc import Mapping

from secure.protocols.core.errors import PartyLost, PartyUnreachable, SecureInferenceError


def root_cause(
    broken: Mapping[str, SecureInferenceError], reported: Mapping[str, SecureInferenceError]
) -> SecureInferenceError:
    """The error to raise at the client.

    Args:
        broken: role → error, for roles whose stream to the client broke without a word, in order of arrival.
        reported: role → the error it reported, in order of arrival.
    """
    if broken:
        return next(iter(broken.values()))
    for error in reported.values():
        if not isinstance(error, PartyLost | PartyUnreachable):
            return error
    role = next(iter(reported))
    seen = {role}
    # Follow 'I lost X' to what X itself reported, until somebody is lost who said nothing or who was seen already.
    while True:
        error = reported[role]
        subject = error.role if isinstance(error, PartyLost | PartyUnreachable) else role
        if subject in seen or subject not in reported:
            return error
        role = subject
        seen.add(role)
