"""The bar follows p0 through the layers, and stays away where it is not wanted."""

from __future__ import annotations

import pytest
from rich.console import Console
from rich.progress import Progress

from secure.parties.client.run import Progress as LayerBegins
from secure.progress import TerminalBar, layer_bar, status


def test_bar_follows_p0_over_two_sessions() -> None:
    display = Progress(console=Console(quiet=True))
    bar = TerminalBar(display, sessions=2, layers=4)
    (task,) = display.tasks
    assert (task.completed, task.total) == (0, 8)
    for index, layer in enumerate(("embeddings", "layer.0", "reveal")):
        bar.watch(LayerBegins("dealer", "reveal", 2))
        bar.watch(LayerBegins("p0", layer, index))
        bar.watch(LayerBegins("p1", layer, index))
        assert (task.completed, task.description) == (index, f"batch 1 of 2  {layer}")
    bar.session_done()
    assert (task.completed, task.total, task.description) == (3, 6, "batch 1 of 2  done")
    bar.watch(LayerBegins("p0", "layer.0", 1))
    assert (task.completed, task.description) == (4, "batch 2 of 2  layer.0")
    bar.watch(LayerBegins("p0", "reveal", 2))
    bar.session_done()
    assert (task.completed, task.description) == (6, "batch 2 of 2  done")


def test_nothing_is_shown_where_standard_error_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with status("loading", None), layer_bar(1, 3, None) as bar:
        bar.watch(LayerBegins("p0", "layer.0", 1))
        bar.session_done()
    assert capsys.readouterr() == ("", "")


def test_lines_when_asked_for_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with status("loading", True), layer_bar(1, 3, True) as bar:
        bar.watch(LayerBegins("p0", "layer.0", 1))
        bar.watch(LayerBegins("p0", "reveal", 2))
        bar.session_done()
    assert capsys.readouterr() == ("", "loading\n1/3  layer.0\n2/3  reveal\n3/3  done\n")
