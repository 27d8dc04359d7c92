"""The page at `/` in a headless Chromium: what it does, what it asks, and that it asks no other server.

Debian's `chromium` and the package `playwright` (the extra `browser`) do; playwright's own browsers are not needed.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from secure.api import PrivateModel
from secure.connection import Parties
from secure.gateway.serving import Gateway
from tests.secure.conftest import WORDS, plain_embeddings
from tests.secure.letters import LETTERS, save_chat_model

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHOSEN = [word for word in WORDS if word.isalpha() and word.isascii()]
DOCUMENTS = {
    f"document {number}.txt": " ".join(CHOSEN[(number * step + step) % len(CHOSEN)] for step in range(1, 7))
    for number in range(20)
}
QUESTIONS = ("the cat sat", "warm sun", "cold rain", "a dog is on the mat", "is the rain warm")
MARKUP = "<img src=x onerror=document.title='taken'>"
PICTURES = os.environ.get("SECURE_PICTURES")
"""A folder for pictures of the page, for whoever wants to look at it."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    try:
        playwright = importlib.import_module("playwright.sync_api")
    except ImportError:
        pytest.skip("playwright is not installed: the extra browser")
    # The sandbox of Chromium's own asks for another user than root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield running
        running.close()


@pytest.fixture
def serve(serve_http: Callable[..., int]) -> Iterator[Callable[[PrivateModel], str]]:
    """A gateway's address."""
    gateways: list[Gateway] = []

    def begin(model: PrivateModel) -> str:
        gateways.append(Gateway(model, ["private"]))
        return f"http://127.0.0.1:{serve_http(gateways[-1].app)}"

    yield begin
    for gateway in gateways:
        gateway.close()


class Watched:
    """A page, with every address that it asked, and what its console said."""

    def __init__(self, browser: Any, address: str, colours: str = "light") -> None:
        self.address = address
        self.asked: list[str] = []
        self.said: list[str] = []
        self.page = browser.new_page(viewport={"width": 900, "height": 1000}, color_scheme=colours)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.said.append(f"{message.text} {message.location['url']}"))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.goto(address)
        self.wait("state", "The parties serve.")

    def wait(self, name: str, text: str) -> None:
        """Until an element says something."""
        # Not by a script that is given as text: the page's policy forbids to evaluate one.
        self.page.locator(f"#{name}", has_text=text).wait_for()

    def text(self, name: str) -> str:
        return str(self.page.inner_text(f"#{name}"))

    def picture(self, name: str) -> None:
        if PICTURES is not None:
            self.page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)

    def complaints(self) -> list[str]:
        """What the console said, but for costs that are not there yet because the session goes on."""
        return [line for line in self.said if "status of 404" not in line or "/v1/sessions/" not in line]

    def asked_this_server_alone(self) -> bool:
        return bool(self.asked) and all(url.startswith(f"{self.address}/") for url in self.asked)


def test_documents_are_found_in_the_order_that_they_have_in_the_clear(
    browser: Any,
    serve: Callable[[PrivateModel], str],
    checkpoint: Path,
    reference: Any,
    clear_parties: Parties,
    tmp_path: Path,
) -> None:
    model = PrivateModel.from_pretrained(checkpoint, parties=clear_parties)
    watched = Watched(browser, serve(model))
    for name, text in DOCUMENTS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    watched.page.set_input_files("#files", [tmp_path / name for name in DOCUMENTS])
    watched.wait("kept", f"{len(set(DOCUMENTS.values()))} passages")
    watched.wait("state", "is kept")
    texts = list(dict.fromkeys(DOCUMENTS.values()))
    vectors = plain_embeddings(reference, model.tokenizer, texts)
    watched.picture("kept")
    for question in QUESTIONS:
        watched.page.fill("#question", question)
        watched.page.click("#ask button")
        watched.wait("state", "compared in this browser")
        scores = vectors @ plain_embeddings(reference, model.tokenizer, [question])[0]
        found = watched.page.eval_on_selector_all("#found li", "items => items.map((item) => item.firstChild.data)")
        assert len(found) == 10
        best = scores.sort(descending=True).values
        for place, text in enumerate(found):
            # Passages whose scores are nearly one may change places.
            assert abs(float(scores[texts.index(text)] - best[place])) < 2e-3, question
        assert "Session " in watched.text("cost") and " rounds, " in watched.text("cost")
    assert {"p0", "p1", "dealer"} <= set(
        watched.page.eval_on_selector_all("#saw dt", "terms => terms.map((t) => t.innerText)")
    )
    watched.picture("search")
    # What is kept outlives the page, until it is forgotten.
    watched.page.reload()
    watched.wait("kept", f"{len(texts)} passages")
    watched.page.click("#forget")
    watched.wait("kept", "0 passages")
    assert watched.asked_this_server_alone() and not watched.complaints(), watched.said


def test_what_is_dropped_is_text_and_a_long_one_is_cut(
    browser: Any, serve: Callable[[PrivateModel], str], checkpoint: Path, clear_parties: Parties
) -> None:
    watched = Watched(browser, serve(PrivateModel.from_pretrained(checkpoint, parties=clear_parties)), "dark")
    long = " ".join(CHOSEN[number * number % len(CHOSEN)] for number in range(50))
    watched.page.evaluate(
        """([name, text]) => {
             const data = new DataTransfer();
             data.items.add(new File([text], name, { type: "text/plain" }));
             const drop = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
             document.getElementById("drop").dispatchEvent(drop);
        }""",
        [f"{MARKUP}.txt", f"{MARKUP}\n\n{long}"],
    )
    watched.wait("state", "is kept")
    # The gateway refuses what is too long for the model, which the page halves.
    assert int(watched.text("kept").split()[0]) > 2
    assert any("status of 400" in line for line in watched.said)
    watched.page.fill("#question", "img")
    watched.page.click("#ask button")
    watched.wait("found", MARKUP[:4])
    assert watched.page.locator("#found img").count() == 0 and watched.page.title() == "Private model"
    watched.picture("dark")
    assert watched.asked_this_server_alone()


def test_a_chat_streams_its_answer_and_can_be_stopped(
    browser: Any, serve: Callable[[PrivateModel], str], clear_parties: Parties, tmp_path: Path
) -> None:
    save_chat_model(tmp_path)
    torch.manual_seed(1)
    watched = Watched(browser, serve(PrivateModel.from_pretrained(tmp_path, parties=clear_parties, head=True)))
    assert watched.page.is_hidden("#search") and watched.page.is_visible("#chat")
    watched.page.fill("#message", "aQz4")
    watched.page.click("#send")
    watched.wait("cost", "Session ")
    said = watched.page.locator("#said p").all_inner_texts()
    assert said[0] == "aQz4" and len(said) == 2 and set(said[1].strip()) <= set(LETTERS)
    assert watched.page.is_disabled("#stop") and watched.page.is_enabled("#send")
    watched.picture("chat")
    assert watched.asked_this_server_alone() and not watched.complaints(), watched.said


def test_the_policy_holds_in_the_browser(
    browser: Any, serve: Callable[[PrivateModel], str], checkpoint: Path, clear_parties: Parties
) -> None:
    watched = Watched(browser, serve(PrivateModel.from_pretrained(checkpoint, parties=clear_parties)))
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.setblocking(False)
        url = json.dumps(f"http://127.0.0.1:{elsewhere.getsockname()[1]}/")
        asked = f"fetch({url}, {{ mode: 'no-cors' }}).then(() => 'sent', () => 'refused')"
        assert watched.page.evaluate(asked) == "refused"
        watched.page.evaluate(f"document.body.append(Object.assign(new Image(), {{ src: {url} }}))")
        watched.page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), { text: 'document.title = 1' }))"
        )
        assert watched.page.title() == "Private model"
        with pytest.raises(BlockingIOError):
            elsewhere.accept()
    for what in ("Connecting to", "Loading the image", "Executing inline script"):
        assert any(what in line and "Content Security Policy" in line for line in watched.said), watched.said
