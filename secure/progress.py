"""Which layer the parties are at, on standard error: a bar in a terminal, lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from secure.parties.client.run import Progress as LayerBegins


class LayerBar:
    """Follows p0 through the layers of one or more sessions. Shows nothing by itself."""

    def __init__(self, sessions: int, layers: int) -> None:
        """layers: how many a session is expected to begin; the first session that ends corrects it."""
        self._sessions = sessions
        self._layers = layers
        self._session = 0
        self._last = 0

    def watch(self, event: LayerBegins) -> None:
        """Called by the client whenever a role begins a layer. P0 and P1 run in lockstep, so one of them will do."""
        if event.role != "p0":
            return
        self._last = event.index
        self._step(event.layer, min(event.index, self._layers))

    def session_done(self) -> None:
        """One session has ended."""
        self._layers = self._last + 1
        self._step("done", self._layers)
        self._session += 1

    def show(self, text: str, completed: int, total: int) -> None:
        """Called at each step. Layers are counted over all sessions."""

    def _step(self, step: str, layers: int) -> None:
        batch = f"batch {self._session + 1} of {self._sessions}  " if self._sessions > 1 else ""
        self.show(f"{batch}{step}", self._session * self._layers + layers, self._sessions * self._layers)


class TerminalBar(LayerBar):
    """A bar that moves in place."""

    def __init__(self, display: Progress, sessions: int, layers: int) -> None:
        super().__init__(sessions, layers)
        self._display = display
        self._task = display.add_task("sharing", total=sessions * layers)

    def show(self, text: str, completed: int, total: int) -> None:
        self._display.update(self._task, description=text, completed=completed, total=total)


class LineBar(LayerBar):
    """One line for each step, for logs."""

    def __init__(self, console: Console, sessions: int, layers: int) -> None:
        super().__init__(sessions, layers)
        self._console = console

    def show(self, text: str, completed: int, total: int) -> None:
        self._console.print(f"{completed}/{total}  {text}")


@contextmanager
def layer_bar(sessions: int, layers: int, shown: bool | None) -> Iterator[LayerBar]:
    """A bar for as long as the block runs. shown: None shows it when standard error is a terminal."""
    console = Console(stderr=True)
    if not _wanted(console, shown):
        yield LayerBar(sessions, layers)
    elif not console.is_terminal:
        yield LineBar(console, sessions, layers)
    else:
        columns = (TextColumn("{task.description:<28}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as display:
            yield TerminalBar(display, sessions, layers)


@contextmanager
def status(text: str, shown: bool | None) -> Iterator[None]:
    """Says what is going on in work without countable steps. shown: as for `layer_bar`."""
    console = Console(stderr=True)
    if not _wanted(console, shown):
        yield
    elif not console.is_terminal:
        console.print(text)
        yield
    else:
        with console.status(text):
            yield


def _wanted(console: Console, shown: bool | None) -> bool:
    return console.is_terminal if shown is None else shown
