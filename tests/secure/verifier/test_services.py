"""A verifier of services that are asked over a wire: private models, encrypted ones and an endpoint of HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer, BertForSequenceClassification

import secure
from secure.ee.engine.server_engine import TransformersEngine
from secure.ee.owner.encrypt import encrypt_checkpoint
from secure.protocols.core.errors import UnlikelyAnswer
from secure.protocols.equivariant.key import Key
from secure.verifier.endpoint import ClassifyEndpoint
from secure.verifier.services import Service, answers_of
from secure.verifier.verifier import Verifier
from tests.secure.ee.serving import certificates, start  # noqa: F401 (fixtures)
from tests.secure.running import Running
from tests.secure.verifier.weather import labels, save_exchanged, save_weather, texts

# Training a classifier and three verifiers takes longer than all that asks a service by a formula.
pytestmark = pytest.mark.slow

TEXTS = texts(240, 5)
GIVEN, FRESH = TEXTS[:192], TEXTS[192:]


@pytest.fixture(scope="session")
def weather(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weather") / "classifier"
    save_weather(checkpoint, folder)
    return folder


@pytest.fixture(scope="session")
def exchanged(weather: Path) -> Path:
    """What a dishonest owner serves in its place."""
    folder = weather.with_name("exchanged")
    save_exchanged(weather, folder)
    return folder


class InClear:
    """A checkpoint in the clear, as a callable of texts, which counts them."""

    def __init__(self, folder: Path) -> None:
        self._model = BertForSequenceClassification.from_pretrained(folder).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self.asked: list[str] = []

    def __call__(self, asked: list[str]) -> Tensor:
        self.asked += asked
        with torch.inference_mode():
            return torch.softmax(self._model(**self._tokenizer(asked, padding=True, return_tensors="pt")).logits, -1)


@pytest.fixture(scope="session")
def truth(weather: Path) -> list[int]:
    named = InClear(weather)(FRESH).argmax(-1)
    assert float((named == labels(FRESH)).double().mean()) > 0.9, "it has learnt something"
    return named.tolist()


def made_for(service: Service) -> Verifier:
    """Each text is asked once: variations would be further sessions."""
    return Verifier.distil(service, GIVEN, false_alarms=0.1, variations=0, steps=400)


def faces(
    verifier: Verifier,
    honest: Service,
    dishonest: Service,
    trusted: Service,
    truth: list[int],
    fresh: list[str] = FRESH,
) -> list[int]:
    """The three ways of an alarm, at a service that is honest and at one that is not. Returns where the alarms were.

    truth: what the honest checkpoint names of `fresh`.
    """
    flagged = verifier(honest, fresh)
    assert [verdict.label for verdict in flagged] == truth
    false_alarms = sum(verdict.alarm for verdict in flagged)
    assert false_alarms <= 0.3 * len(fresh), "10 % are due"
    quiet = [text for text, verdict in zip(fresh, flagged, strict=True) if not verdict.alarm][:8]
    assert not any(verdict.alarm for verdict in verifier(honest, quiet, on_alarm="raise"))

    spoilt = verifier(dishonest, fresh, on_alarm="flag")
    alarms = [row for row, verdict in enumerate(spoilt) if verdict.alarm]
    assert all(verdict.label != right for verdict, right in zip(spoilt, truth, strict=True))
    # How many are found is measured by `python -m bench verifier`; of 96 texts the network has learnt a good part.
    assert len(alarms) > max(0.5 * len(fresh), 3 * false_alarms)
    assert sum(spoilt[row].own_label == truth[row] for row in alarms) > 0.75 * len(alarms)
    few = [fresh[row] for row in alarms[:8]]
    with pytest.raises(UnlikelyAnswer, match=r"8 of 8 answers are unlike .* to inputs 0, 1, 2, 3, 4, …"):
        verifier(dishonest, few, on_alarm="raise")
    escalated = verifier(dishonest, few, on_alarm=trusted)
    assert [verdict.label for verdict in escalated] == [truth[row] for row in alarms[:8]]
    assert all(verdict.escalated and verdict.alarm for verdict in escalated)
    return alarms


@pytest.mark.processes
@pytest.mark.xdist_group("parties")
def test_private_models_of_three_processes(weather: Path, exchanged: Path, truth: list[int], beaver: Running) -> None:
    """An alarm is escalated to a copy in the clear, which is asked what raised one and nothing else.

    The copy has taught the verifier, too, whose texts would be two dozen sessions more. That one can be made of the
    parties' answers is seen of fewer texts.
    """
    copy, fresh = InClear(weather), FRESH[:24]
    verifier = made_for(copy)
    copy.asked.clear()
    with (
        secure.PrivateModel.from_pretrained(weather, parties=beaver.parties) as honest,
        secure.PrivateModel.from_pretrained(exchanged, parties=beaver.parties) as other,
    ):
        alarms = faces(verifier, honest, other, copy, truth[:24], fresh)
        assert copy.asked == [fresh[row] for row in alarms[:8]]
        small = Verifier.distil(honest, GIVEN[:40], false_alarms=0.2, variations=0, steps=50)
        assert [verdict.label for verdict in small(honest, fresh[:8])] == truth[:8]
        assert honest.report.roles["p0"].messages_sent["p1"] == honest.report.rounds > 0, "parties computed it"


def test_encrypted_models_of_a_server(
    weather: Path,
    exchanged: Path,
    truth: list[int],
    tmp_path: Path,
    start: Callable[..., int],  # noqa: F811
    certificates: Path,  # noqa: F811
) -> None:
    """The server has the right files and other weights in memory; an alarm is escalated to another server."""
    key = Key(bytes(range(32)))
    encrypt_checkpoint(weather, key, tmp_path / "encrypted", assume="none")
    changed = TransformersEngine(tmp_path / "encrypted")
    with torch.no_grad():
        for parameter in changed._model.classifier.parameters():
            parameter.copy_(parameter.roll(1, 0))
    honest, other = (
        secure.EncryptedModel.from_pretrained(
            tmp_path / "encrypted", key=key, server=f"127.0.0.1:{start(engine)}", certificates=certificates
        )
        for engine in (TransformersEngine(tmp_path / "encrypted"), changed)
    )
    faces(made_for(honest), honest, other, honest, truth)
    assert honest.report.sequences > 0
    honest.unload()
    other.unload()


@pytest.fixture
def serve_classes() -> Iterator[Callable[[Path], ClassifyEndpoint]]:
    """Serve a checkpoint in the clear as vLLM does at /classify."""
    servers: list[ThreadingHTTPServer] = []

    def begin(folder: Path) -> ClassifyEndpoint:
        model = InClear(folder)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                rows = enumerate(model(asked["input"]).tolist())
                content = json.dumps({"data": [{"index": index, "probs": row} for index, row in rows]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        return ClassifyEndpoint(f"http://127.0.0.1:{server.server_port}/classify", "weather")

    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()


def test_an_endpoint_of_http(
    weather: Path, exchanged: Path, truth: list[int], serve_classes: Callable[[Path], ClassifyEndpoint], tmp_path: Path
) -> None:
    """An alarm is escalated to an encrypted model; the verifier was saved and loaded between."""
    key = Key(bytes(range(32)))
    encrypt_checkpoint(weather, key, tmp_path / "encrypted", assume="none")
    trusted = secure.EncryptedModel.from_pretrained(tmp_path / "encrypted", key=key)
    honest, other = serve_classes(weather), serve_classes(exchanged)
    made_for(honest).save(tmp_path / "verifier")
    verifier = secure.Verifier.load(tmp_path / "verifier")
    faces(verifier, honest, other, trusted, truth)
    assert torch.allclose(answers_of(honest, FRESH[:4]), answers_of(trusted, FRESH[:4]), atol=1e-4)
    trusted.unload()
