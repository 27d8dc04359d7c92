"""How a party's process writes its log: lines for people, or one JSON object a line for what gathers logs."""

from __future__ import annotations

import datetime
import json
import logging

from secure.parties.session.session import CURRENT

FORMATS = ("text", "json")


class JsonLines(logging.Formatter):
    """Fields: time (UTC), level, role, event; in a session's own thread also session, its id's first eight digits."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        fields = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "role": self._role,
            "event": record.getMessage(),
        }
        session = CURRENT.get()
        if session:
            fields["session"] = session[:8]
        return json.dumps(fields, ensure_ascii=False)


def log_to_stderr(role: str, level: str, form: str, *, prefixed: bool) -> None:
    """prefixed: whether a launcher puts the role before every line itself."""
    handler = logging.StreamHandler()
    if form == "json":
        handler.setFormatter(JsonLines(role))
    else:
        name = "" if prefixed else f"{role} "
        handler.setFormatter(logging.Formatter(f"%(asctime)s %(levelname)-7s {name}%(message)s", "%H:%M:%S"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
