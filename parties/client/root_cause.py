"""Which of several reported errors is the cause.

When one role dies, everybody else loses somebody: p0's death makes p1 lose p0, and p1's giving up makes the dealer lose
p1. The client names the role at the root.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from secure.protocols.core.errors import PartyAbsent, PartyLost, PartyUnreachable, SecureInferenceError


def root_cause(
    broken: Mapping[str, SecureInferenceError], reported: Mapping[str, SecureInferenceError]
) -> SecureInferenceError:
    """The error to raise at the client.

    Where one role cannot reach another one, and that one waits for it, both say so.

    Args:
        broken: role → error, for roles whose stream to the client broke without a word, in order of arrival.
        reported: role → the error it reported, in order of arrival.
    """
    cause = _cause(broken, reported)
    said = reported.get(cause.role) if isinstance(cause, PartyUnreachable) else None
    if not isinstance(said, PartyAbsent):
        return cause
    both = type(cause).__new__(type(cause), f"{cause}; meanwhile {said}")
    both.__dict__.update(vars(cause))
    return both


def awaited(
    broken: Mapping[str, SecureInferenceError],
    reported: Mapping[str, SecureInferenceError],
    running: Collection[str],
    client: str,
) -> set[str]:
    """Roles whose word may still change the cause; no role when the cause is certain. Arguments as for `root_cause`.

    Args:
        running: roles of which the client may still hear.
        client: the client's own role. It is here, so a party that misses it heard so from a party that went away.
    """
    error = _cause(broken, reported)
    if broken or not isinstance(error, PartyLost | PartyUnreachable):
        return set()
    silent = set(running) - set(reported)
    return silent if error.role == client else silent & {error.role}


def _cause(
    broken: Mapping[str, SecureInferenceError], reported: Mapping[str, SecureInferenceError]
) -> SecureInferenceError:
    if broken:
        return next(iter(broken.values()))
    for error in reported.values():
        if not isinstance(error, PartyLost | PartyUnreachable):
            return error
    for error in reported.values():
        # Whoever tried to connect knows more than whoever waited for a connection.
        if isinstance(error, PartyUnreachable) and not isinstance(error, PartyAbsent):
            return error
    return reported[_end_of_chain(reported)]


def _end_of_chain(reported: Mapping[str, SecureInferenceError]) -> str:
    """The last to speak on the way from 'I lost X', which came first, to what X itself reported, and so on."""
    role = next(iter(reported))
    seen = {role}
    while True:
        error = reported[role]
        subject = error.role if isinstance(error, PartyLost | PartyUnreachable) else role
        if subject in seen or subject not in reported:
            return role
        role = subject
        seen.add(role)
