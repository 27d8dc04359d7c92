"""An audit at work: canaries go out among other texts, and what came back is written down."""

from __future__ import annotations

import datetime
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from secure.audit.canaries import Asked, Canaries
from secure.audit.compare import Answer, distance
from secure.protocols.core.errors import ConfigurationError, InputError

_RANDOM = random.SystemRandom()


@dataclass(frozen=True)
class Entry:
    """One canary that was asked: its place in the file, and how far the answer was from the true one."""

    canary: int
    distance: float


class AuditLog:
    """A file of JSON lines to which each answered canary is added."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)

    def add(self, entry: Entry) -> None:
        """Append one. Raises ConfigurationError."""
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        line = json.dumps({"canary": entry.canary, "distance": entry.distance, "at": now})
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise ConfigurationError(f"{self._path}: cannot be written: {error.strerror}") from None

    def entries(self) -> list[Entry]:
        """All so far; none where there is no file. Raises ConfigurationError for what is no log."""
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigurationError(f"{self._path}: cannot be read: {error.strerror}") from None
        try:
            values = [json.loads(line) for line in lines]
            return [Entry(int(value["canary"]), float(value["distance"])) for value in values]
        except (KeyError, TypeError, ValueError):
            raise ConfigurationError(f"{self._path}: is no log of an audit") from None


def run(
    asked: Asked,
    canaries: Canaries,
    log: AuditLog,
    *,
    count: int,
    among: Sequence[str] = (),
    again: bool = True,
) -> list[Answer]:
    """Ask so many canaries, drawn at random, in random places among other texts. Returns the others' answers.

    again: whether a canary may be asked that the log has already. Where texts are secret, as with the parties of a
    protocol, nobody can tell; a server that sees texts, or ids in their place, could.

    Raises InputError where fewer are left, and what whoever is asked raises; the log has what was answered.
    """
    used = set() if again else {entry.canary for entry in log.entries()}
    left = [number for number in range(len(canaries.canaries)) if number not in used]
    if not 0 < count <= len(left):
        raise InputError(f"{count} canaries are to be asked, {len(left)} are left; make others with audit prepare")
    chosen = _RANDOM.sample(left, count)
    # Places of the others are not negative, those of canaries are −1, −2, …
    places = [*range(len(among)), *(-1 - number for number in chosen)]
    _RANDOM.shuffle(places)
    answers = asked([among[place] if place >= 0 else canaries.canaries[-1 - place].text for place in places])
    others: dict[int, Answer] = {}
    for place, answer in zip(places, answers, strict=True):
        if place >= 0:
            others[place] = answer
        else:
            log.add(Entry(-1 - place, distance(canaries.kind, canaries.canaries[-1 - place].answer, answer)))
    return [others[place] for place in range(len(among))]
