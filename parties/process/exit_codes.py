"""Exit codes of the processes, each with a sentence that says what to do, and a section of docs/errors.md."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

from secure.protocols.core import errors

PAGE = "docs/errors.md"
"""Where each code has a section: causes and remedies."""


class ExitCode(IntEnum):
    """0 is success, 1 a defect, 2 wrong usage (argparse's own); ours begin at 10."""

    OK = 0
    DEFECT = 1
    USAGE = 2
    CONFIGURATION = 10
    PORT_IN_USE = 11
    INPUT = 12
    CHECKPOINT = 13
    BOUND = 14
    HANDSHAKE = 20
    UNREACHABLE = 21
    PARTY_LOST = 22
    SESSION = 23
    BUSY = 24
    PARTY_DEVIATES = 25
    RECEIPT = 26
    AUDIT = 27
    INTERRUPTED = 130


HELP: Mapping[ExitCode, str] = MappingProxyType(
    {
        ExitCode.OK: "Everything went well.",
        ExitCode.DEFECT: "A defect of this program; please report it with the log.",
        ExitCode.USAGE: "The command line is wrong; --help shows how it goes.",
        ExitCode.CONFIGURATION: "A setting or certificate is wrong; the message names it; secure doctor checks all.",
        ExitCode.PORT_IN_USE: "The port is taken; stop the other program or choose another port in the settings.",
        ExitCode.INPUT: "The input cannot be computed on; nothing was sent.",
        ExitCode.CHECKPOINT: "The checkpoint or share file is missing or not of a supported kind; nothing was shared.",
        ExitCode.BOUND: "A value leaves the range that the model's policy allows; the message names the layer.",
        ExitCode.HANDSHAKE: "Two roles disagree on a field; the message names it.",
        ExitCode.UNREACHABLE: "A party does not answer; check that it runs and that its address is right.",
        ExitCode.PARTY_LOST: "A party went away while a session ran; start it again and repeat the call.",
        ExitCode.SESSION: "A session ended early; repeat the call.",
        ExitCode.BUSY: "The server computes as many requests as it may; repeat the call a little later.",
        ExitCode.PARTY_DEVIATES: "Evaluators differ in what they opened; there is no result; compare the logs of all.",
        ExitCode.RECEIPT: "A receipt does not hold; the message names the role and the field.",
        ExitCode.AUDIT: "Answers to canaries differ from the true model's; the report says by how much.",
        ExitCode.INTERRUPTED: "Stopped from the keyboard.",
    }
)

_BY_ERROR: Mapping[type[BaseException], ExitCode] = MappingProxyType(
    {
        errors.ConfigurationError: ExitCode.CONFIGURATION,
        errors.PortInUse: ExitCode.PORT_IN_USE,
        errors.InputError: ExitCode.INPUT,
        errors.CheckpointError: ExitCode.CHECKPOINT,
        errors.BoundError: ExitCode.BOUND,
        errors.SessionError: ExitCode.SESSION,
        errors.HandshakeError: ExitCode.HANDSHAKE,
        errors.PartyUnreachable: ExitCode.UNREACHABLE,
        errors.PartyLost: ExitCode.PARTY_LOST,
        errors.ServerBusy: ExitCode.BUSY,
        errors.PartyDeviates: ExitCode.PARTY_DEVIATES,
        errors.ReceiptRefused: ExitCode.RECEIPT,
        errors.AuditFailed: ExitCode.AUDIT,
        KeyboardInterrupt: ExitCode.INTERRUPTED,
    }
)


def exit_code(error: BaseException) -> ExitCode:
    """The code that a process ends with after `error`: that of the nearest class above it that has one."""
    return next((_BY_ERROR[kind] for kind in type(error).__mro__ if kind in _BY_ERROR), ExitCode.DEFECT)


def section(code: ExitCode) -> str:
    """The title of the code's section in the page of errors, which also makes its anchor."""
    return f"{code.value} {code.name.lower().replace('_', ' ')}"


def explained(code: ExitCode) -> str:
    """The line that a process ends with: the code, what to do, and where more is said."""
    return f"exit code {code.value}: {HELP[code]} More: {PAGE}#{section(code).replace(' ', '-')}"
