"""What a session tells a tracer, where somebody asked for one: that it begins, its layers, and how it ends.

No library of tracing is needed here. A tracer hears names and times: the session's id, the role, what kind of session
it is, names of layers, which the architecture fixes, and the class of an error, whose text could say more.
"""

from __future__ import annotations

TRACE_KEY = "traceparent"
"""The key of a call's metadata under which a client says which trace a session is part of: W3C Trace Context."""
_MOST_LETTERS = 128


class SessionTrace:
    """One session at one role, as a tracer hears of it. This one keeps nothing."""

    context = ""
    """What the next role continues from, in W3C's form; empty where nothing is traced."""

    def layer(self, name: str) -> None:
        """A layer begins, and the one before it ends."""

    def end(self, error: Exception | None) -> None:
        """The session ends, by an error or in good order."""


class SessionTracer:
    """Begins the trace of each session. This one traces nothing."""

    def begin(self, role: str, kind: str, session_id: str, context: str = "") -> SessionTrace:
        """context: what the client's own trace gave; empty begins a trace."""
        return SessionTrace()


def context_of(metadata: object) -> str:
    """What a call's metadata, pairs of key and value, say of its trace; empty where they say nothing of use."""
    pairs = metadata if isinstance(metadata, tuple | list) else ()
    found = [value for key, value in pairs if key == TRACE_KEY and isinstance(value, str)]
    return found[0] if len(found) == 1 and len(found[0]) <= _MOST_LETTERS else ""
