"""How many tokens have passed under one key and epoch: a file that outlives programs and crashes.

The file has one line for each change of the count, `+tokens;` before anything is sent and `-tokens;` for what in the
end did not pass, and its name is the key's check value: beside when and how much was asked nothing that a manifest does
not publish. Lines are appended, flushed to the disk, and only then may tokens be sent. So a program that is killed, or
a machine that loses power, has counted too much and never too little; several programs of one user share the count.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

from secure.ee.files.folder import flush
from secure.protocols.core.errors import ConfigurationError

_VARIABLE = "XDG_STATE_HOME"
_CHANGE = re.compile(rb"\n([+-][0-9]{1,18});")


def state_folder() -> Path:
    """Where this user's programs keep what they must remember."""
    named = os.environ.get(_VARIABLE)
    return (Path(named) if named else Path.home() / ".local" / "state") / "secure-inference" / "tokens"


class TokenLedger:
    """The count of one key and epoch. Its methods are called from several threads at a time."""

    def __init__(self, check_value: str, folder: Path | None = None) -> None:
        """check_value: of the key, which depends on the epoch. folder: None takes `state_folder`.

        Raises ConfigurationError when nothing can be written there.
        """
        self._path = (folder or state_folder()) / check_value
        self._lock = threading.Lock()
        self._read, self._total = 0, 0
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            flush(self._path.parent)
        except OSError as error:
            raise self._unusable(error) from None

    @property
    def tokens(self) -> int:
        """How many have passed, those of requests at work included. Raises ConfigurationError."""
        with self._lock:
            return self._known()

    def burn(self, tokens: int, limit: int | None) -> bool:
        """Count tokens that may be sent as soon as this returns. False, and nothing counted, beyond the limit.

        Raises ConfigurationError when the count cannot be written; nothing may be sent then.
        """
        with self._lock:
            if limit is not None and self._known() + tokens > limit:
                return False
            self._append(tokens)
            if limit is None or self._known() <= limit:
                return True
            # Another program was faster.
            self._append(-tokens)
            return False

    def give_back(self, tokens: int) -> None:
        """Take back what was counted and did not pass. Raises ConfigurationError."""
        if tokens:
            with self._lock:
                self._append(-tokens)

    def _known(self) -> int:
        """The sum of all lines; those that are read already are not read again."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                added = file.read()
        except OSError as error:
            raise self._unusable(error) from None
        # A line that is cut short was never flushed, so nothing was sent for it; the next one begins behind it.
        whole = added[: added.rfind(b";") + 1]
        self._total += sum(int(change) for change in _CHANGE.findall(whole))
        self._read += len(whole)
        return self._total

    def _append(self, change: int) -> None:
        try:
            # Without O_CREAT: a file that somebody removes is missed, not begun anew.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(descriptor, b"\n%+d;" % change)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._unusable(error) from None

    def _unusable(self, error: OSError) -> ConfigurationError:
        return ConfigurationError(
            f"the count of tokens under this key, in {self._path.parent}, cannot be kept ({error.strerror}), so "
            f"nothing is sent; make that folder writable, or name another one by {_VARIABLE}"
        )
