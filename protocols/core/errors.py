"""Every error of this project, in one tree.

    SecureInferenceError
    ├── ConfigurationError          a setting, certificate or installation is wrong; nothing was started
    │   └── PortInUse               another program listens where a server should
    ├── InputError                  the client's input cannot be computed on; nothing was sent, or the parties refuse it
    │   ├── RequestRefused          an HTTP request that is not computed, with its status (in secure.http)
    │   └── BudgetSpent             more tokens than may still pass under the key of an encrypted checkpoint
    ├── CheckpointError             the checkpoint or share file is not one we can serve; nothing was shared
    │   └── UnsupportedOperator     a module's operator that we know, with arguments that are not served
    ├── DamagedFile                 a file that a party sealed is not what it wrote, or was sealed under another key
    ├── BoundError                  a value leaves the range that its op declares; names the layer
    ├── UnlikelyAnswer              a verifier's alarm: a service's answer is unlike what it answered before
    ├── ReceiptRefused              what the roles of a session signed does not hold; names the role and the field
    ├── AuditFailed                 answers to canaries are not what the true model answers
    ├── SessionError                a session ended early; the processes that are still alive serve the next one
    │   ├── HandshakeError          two roles disagree on a field; names the field and both values
    │   ├── NoCorrelations          nothing in stock for this request, or the stock is not to be trusted now
    │   ├── CorrelationsDamaged     a deal's tape is not what the dealer sent; the deal is spent, the next one is whole
    │   ├── StockFull               a deal does not fit into a party's stock; what came of it is burnt
    │   ├── ModelNotLoaded          a party does not hold the model, or holds it under other masks; load it again
    │   ├── PartyUnreachable        no connection to a role within the time limit; names role, address, seconds
    │   │   ├── PartyAbsent         a role that connects to the one that reports it did not come
    │   │   └── ServerUnreachable   the server of an encrypted checkpoint does not answer
    │   ├── PartyLost               a connected role went away; names the role and the step
    │   ├── PartyDeviates           three evaluators compared what they opened, and it differs; names the two suspects
    │   └── ServerBusy              the server or a party does as much as it may; the same request can succeed later
    └── ProtocolError               roles fell out of step or a gate was misused: a defect, please report it

Each message says what happened, where, and what to do. No message holds a share, a seed or a tensor's value.
"""

from __future__ import annotations

_MOST_LETTERS = 200
"""What another role says is cut there, in a message about it."""


class SecureInferenceError(Exception):
    """Root of the tree. Catch this to catch everything that the library raises on purpose."""


class ConfigurationError(SecureInferenceError):
    """A setting, certificate, address or installation is wrong."""


class PortInUse(ConfigurationError):
    """Another program listens on the port that a server should listen on."""


class InputError(SecureInferenceError, ValueError):
    """The client's input cannot be computed on."""


class BudgetSpent(InputError):
    """More tokens than may still pass under the key and epoch of an encrypted checkpoint."""


class CheckpointError(SecureInferenceError):
    """A checkpoint or share file is missing, malformed or of an unsupported kind."""


class UnsupportedOperator(CheckpointError):
    """A captured module calls an operator that we know with arguments that are not served."""


class DamagedFile(SecureInferenceError):
    """A sealed file is not what was written. The text says at which segment; whoever reads it says which file it is."""


class BoundError(SecureInferenceError):
    """A value leaves the range that its op declares."""


class UnlikelyAnswer(SecureInferenceError):
    """A service's answer is unlike what it answered when its verifier was made."""


class ReceiptRefused(SecureInferenceError):
    """What a role signed of a session does not hold: another field, another authority, or no signature at all."""


class AuditFailed(SecureInferenceError):
    """A server's answers to canaries differ from the true model's by more than honest answers do."""


class SessionError(SecureInferenceError):
    """A session ended before its result was complete."""


class HandshakeError(SessionError):
    """Two roles disagree on a field that must be equal."""

    def __init__(self, field: str, ours: str, theirs: str, where: str) -> None:
        super().__init__(f"{where}: {field} differs: this side has {ours!r}, the other side {theirs[:_MOST_LETTERS]!r}")
        self.field = field


class ModelNotLoaded(SessionError):
    """A party does not hold the model that a session is for, or holds it under the masks of another load."""


class NoCorrelations(SessionError):
    """A party has no deal in stock for a session, or none that it may use."""


class CorrelationsDamaged(SessionError):
    """A deal's tape was changed, cut or exchanged since the dealer sent it."""


class StockFull(SessionError):
    """A party's stock, or the disk under it, has no room for another deal."""


class PartyUnreachable(SessionError):
    """No connection to a role could be made within the time limit."""

    def __init__(self, role: str, address: str, seconds: float, caller: str = "", reason: str = "") -> None:
        """caller: whoever tried, where it says so to others. reason: what became of it, in words."""
        who, where = (f"{caller} cannot reach {role}: ", f" on {caller}'s host") if caller else ("", "")
        why = f" ({reason})" if reason else ""
        super().__init__(
            f"{who}{role} at {address} did not answer within {seconds:.1f} s{why}; check that it runs "
            f"(secure party {role}) and that the address is right{where} (secure doctor)"
        )
        self.role = role


class PartyAbsent(PartyUnreachable):
    """A role that opens its stream to this one did not do so within the time limit. It knows the reason itself."""

    def __init__(self, role: str, waiting: str, seconds: float) -> None:
        SessionError.__init__(self, f"{waiting} waited {seconds:.1f} s for {role}, which did not connect to it")
        self.role = role


class ServerUnreachable(PartyUnreachable):
    """The party that holds an encrypted checkpoint does not answer."""

    def __init__(self, address: str, seconds: float, detail: str) -> None:
        super().__init__("server", address, seconds)
        self.args = (
            f"the server at {address} did not answer within {seconds:.1f} s; check that it runs (secure ee serve) "
            f"and that the address is right{f' ({detail})' if detail else ''}",
        )


class PartyLost(SessionError):
    """A role that was connected went away while a session ran."""

    def __init__(self, role: str, step: str, detail: str = "") -> None:
        super().__init__(f"{role} went away during {step}" + (f": {detail}" if detail else ""))
        self.role = role
        self.step = step


class PartyDeviates(SessionError):
    """What evaluators opened, or were sent, is not the same. Whoever raises this follows the protocol, if it is honest.

    suspects: of whom at least one deviates, unless the client or the model's owner gave the evaluators unequal shares.
    """

    def __init__(self, suspects: tuple[str, ...], where: str, what: str, reporter: str) -> None:
        """where: round and gate. what: the difference. reporter: the role that found it."""
        one = suspects[0] if len(suspects) == 1 else f"one of {' and '.join(suspects)}"
        super().__init__(
            f"{reporter}: {where}: {what}; {one} does not follow the protocol, runs another version, or was given "
            "other shares than the rest. Nothing was sent after this and there is no result; compare the logs of all "
            "evaluators (docs/errors.md)"
        )
        self.suspects = suspects


class ServerBusy(SessionError):
    """The server, or a party, does as much as it may; the same request can succeed later.

    retry_after_seconds: when it is worth another try; None where nothing is known of that.
    """

    retry_after_seconds: float | None = None

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        if retry_after_seconds is not None:
            self.retry_after_seconds = retry_after_seconds


class ProtocolError(SecureInferenceError):
    """Roles fell out of step, or a gate was misused: a defect of this library."""
