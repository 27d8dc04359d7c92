"""Errors of the tree as Failure frames, and back as the same class."""

from __future__ import annotations

import re

from secure.parties.transport.wire_pb2 import Failure, Frame
from secure.protocols.core import errors

_BY_CODE = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.SecureInferenceError)
}
"""The classes that travel: those of `errors`. Another class of the tree travels as the nearest of them above it."""

_MOST_LETTERS = 2000
"""Somebody else's words are cut there."""

_AND = ","
"""Between the names of roles, where an error is about several."""

_PATH = re.compile(r"""(?<![\w.:/\\])(?:/|[A-Za-z]:[\\/])[^\s'",;:()]*[^\s'",;:().]""")
"""An absolute path, as it stands in a sentence."""


def failure_frame(error: Exception, role: str, step: str) -> Frame:
    """What `role` tells its peers about `error`, which happened during `step`.

    Errors of the tree carry a message that is safe for peers, but for absolute paths, which are nothing to them. Of any
    other error only the class travels: its text could hold a value.
    """
    failure = Failure(role=role, step=step)
    code = next((kind.__name__ for kind in type(error).__mro__ if _BY_CODE.get(kind.__name__) is kind), None)
    if code is None:
        failure.code = errors.ProtocolError.__name__
        failure.message = f"{role} failed during {step} with {type(error).__name__}; its own log says more"
    else:
        failure.code = code
        failure.message = _PATH.sub(f"a path of {role}'s host", str(error))
    if isinstance(error, errors.PartyLost | errors.PartyUnreachable):
        failure.subject = error.role
    if isinstance(error, errors.PartyDeviates):
        failure.subject = _AND.join(error.suspects)
    if isinstance(error, errors.HandshakeError):
        failure.field = error.field
    if isinstance(error, errors.ServerBusy) and error.retry_after_seconds is not None:
        failure.retry_after_seconds = error.retry_after_seconds
    return Frame(failure=failure)


def rebuild(failure: Failure) -> errors.SecureInferenceError:
    """The error that a peer reported, as the class it had there, with the peer's message."""
    kind = _BY_CODE.get(failure.code, errors.ProtocolError)
    # The classes' own constructors compose a message from parts; here the message is already composed.
    error = kind.__new__(kind, one_line(failure.message))
    if isinstance(error, errors.PartyLost):
        error.role, error.step = failure.subject, failure.step
    elif isinstance(error, errors.PartyUnreachable):
        error.role = failure.subject
    elif isinstance(error, errors.PartyDeviates):
        error.suspects = tuple(failure.subject.split(_AND))
    elif isinstance(error, errors.HandshakeError):
        error.field = failure.field
    elif isinstance(error, errors.ServerBusy):
        error.retry_after_seconds = failure.retry_after_seconds or None
    error.add_note(f"reported by {one_line(failure.role)} during {one_line(failure.step)}")
    return error


def one_line(text: str) -> str:
    """Somebody else's words, as they may stand in a log: cut, and without what ends a line or moves a cursor."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:_MOST_LETTERS])
