"""A party's operator, who has the party's own certificate, and asks that party alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from secure.parties.config import PartiesSettings
from secure.parties.session.handshake import PROTOCOL_VERSION, new_session_id
from secure.parties.transport.dialer import Dialer
from secure.parties.transport.wire_pb2 import Frame, Hello, Kind
from secure.protocols.core.errors import ConfigurationError, ProtocolError


class Operator:
    """One party's. Each call is a session of its own."""

    def __init__(self, settings: PartiesSettings, role: str) -> None:
        """Raises ConfigurationError where the settings have no `[stock]`, or this host no certificate of the role."""
        if settings.stock is None:
            raise ConfigurationError("the settings have no [stock]; add one to each party's, and start them again")
        settings.party(role)
        self._settings = settings
        self._role = role

    def deal(
        self, model_digest: str, request_json: str, count: int, progress: Callable[[int], None] | None = None
    ) -> dict[str, Any]:
        """At the dealer: deal ahead for a request. progress: told how many are done. Raises what the dealer reports."""
        hello = self._hello(Kind.KIND_DEAL, request_json)
        hello.model_digest, hello.count = model_digest, count
        (row,) = self._ask(hello, progress)
        return row

    def stock(self, action: str, shape: str | None = None) -> list[dict[str, Any]]:
        """At p0 or p1: "show", "names", "verify", or "burn" of a shape, or of all; at any role "troubles".

        Raises what the party reports.
        """
        return self._ask(self._hello(Kind.KIND_STOCK, json.dumps({"action": action, "shape": shape})), None)

    def _hello(self, kind: Kind.ValueType, request: str) -> Hello:
        return Hello(
            protocol_version=PROTOCOL_VERSION,
            session=new_session_id(),
            role=self._role,
            kind=kind,
            family=self._settings.protocol,
            request=request,
        )

    def _ask(self, hello: Hello, progress: Callable[[int], None] | None) -> list[dict[str, Any]]:
        dialer = Dialer(self._settings, self._role)
        try:
            link, _ = dialer.dial(self._role, "Run", hello)
            rows: list[dict[str, Any]] | None = None
            while True:
                frame = link.next_frame()
                if not isinstance(frame, Frame):
                    raise ProtocolError(f"{self._role} sent a message where its report was due")
                if frame.HasField("progress") and progress is not None:
                    progress(frame.progress.index)
                elif frame.HasField("report"):
                    rows = json.loads(frame.report.rows_json)
                elif frame.HasField("end") and rows is not None:
                    link.finish()
                    return rows
        finally:
            dialer.close()
