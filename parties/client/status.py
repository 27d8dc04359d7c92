"""What all roles of a parties.toml say of themselves, asked with whatever certificate is on this host."""

from __future__ import annotations

import json
import time
from concurrent import futures
from dataclasses import dataclass
from typing import Any

from secure.parties.config import PartiesSettings
from secure.parties.session.handshake import CALLERS, PROTOCOL_VERSION, as_role, compare, new_session_id
from secure.parties.transport.certificates.own import check_certificates
from secure.parties.transport.dialer import Dialer
from secure.parties.transport.wire_pb2 import Frame, Hello
from secure.protocols.core.errors import ConfigurationError, ProtocolError, SecureInferenceError


@dataclass(frozen=True)
class RoleStatus:
    """What one role says, or why it says nothing. clock_difference_seconds: its clock less this host's."""

    said: dict[str, Any] | None = None
    clock_difference_seconds: float = 0.0
    why_not: str = ""


def statuses(settings: PartiesSettings) -> dict[str, RoleStatus]:
    """Ask every party, at the same time. Raises ConfigurationError where no certificate here may ask."""
    may_ask = [role for role in CALLERS["Status"] if (settings.tls_dir / f"{role}.key").is_file()]
    here = [role for role in may_ask if not check_certificates(settings.tls_dir, (role,))]
    if not here:
        raise ConfigurationError(
            f"{settings.tls_dir} has no certificate and key of a party or owner that are well; parties tell their "
            "status to each other and to the owner; a client asks with secure doctor whether they serve"
        )
    dialer = Dialer(settings, here[0])
    try:
        with futures.ThreadPoolExecutor(len(settings.parties)) as pool:
            asked = {role: pool.submit(_status, dialer, settings.protocol, role) for role in settings.parties}
        return {role: future.result() for role, future in asked.items()}
    finally:
        dialer.close()


def _status(dialer: Dialer, family: str, role: str) -> RoleStatus:
    hello = Hello(protocol_version=PROTOCOL_VERSION, session=new_session_id(), role=dialer.role, family=family)
    try:
        began = time.time()
        link, accept = dialer.dial(role, "Status", hello)
        compare(as_role(hello, dialer.role), accept.hello, f"{dialer.role} with {role}")
        frame = link.next_frame()
        middle = (began + time.time()) / 2
        if not (isinstance(frame, Frame) and frame.HasField("report")):
            raise ProtocolError(f"{role} answered a question for its status with something else")
        (said,) = json.loads(frame.report.rows_json)
        link.finish()
    except SecureInferenceError as error:
        return RoleStatus(why_not=str(error))
    return RoleStatus(said, said["clock_seconds"] - middle)
