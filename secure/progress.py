"""A progress bar on standard error while parties compute: which layer they are at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from parties.run import Progress as LayerBegins


class LayerBar:
    """Follows p0 through the layers of one or more sessions. Without a display it follows silently."""

    def __init__(self, display: Progress | None, sessions: int, layers: int) -> None:
        """layers: how many a session is expected to begin; the first session that ends corrects it."""
        self._display = display
        self._sessions = sessions
        self._layers = layers
        self._session = 0
        self._last = 0
        self._task: TaskID | None = None if display is None else display.add_task("sharing", total=sessions * layers)

    def watch(self, event: LayerBegins) -> None:
        """Called by the client whenever a role begins a layer. P0 and P1 run in lockstep, so one of them will do."""
        if event.role != "p0":
            return
        self._last = event.index
        self._show(event.layer, self._session * self._layers + min(event.index, self._layers))

    def session_done(self) -> None:
        """One session has ended."""
        self._session += 1
        self._layers = self._last + 1
        self._show("done" if self._session == self._sessions else "sharing", self._session * self._layers)

    def _show(self, step: str, completed: int) -> None:
        if self._display is None or self._task is None:
            return
        current = min(self._session + 1, self._sessions)
        batch = f"batch {current} of {self._sessions}  " if self._sessions > 1 else ""
        self._display.update(
            self._task, description=f"{batch}{step}", completed=completed, total=self._sessions * self._layers
        )


@contextmanager
def layer_bar(sessions: int, layers: int, shown: bool | None) -> Iterator[LayerBar]:
    """A bar that is removed at the end. shown: None shows it when standard error is a terminal."""
    console = Console(stderr=True)
    if not _wanted(console, shown):
        yield LayerBar(None, sessions, layers)
        return
    columns = (TextColumn("{task.description:<28}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as display:
        yield LayerBar(display, sessions, layers)


@contextmanager
def status(text: str, shown: bool | None) -> Iterator[None]:
    """A spinner with a text, for work without countable steps. shown: as for `layer_bar`."""
    console = Console(stderr=True)
    if not _wanted(console, shown):
        yield
        return
    with console.status(text):
        yield


def _wanted(console: Console, shown: bool | None) -> bool:
    return console.is_terminal if shown is None else shown
