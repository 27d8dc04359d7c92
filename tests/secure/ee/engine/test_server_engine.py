"""The engine over transformers: classifiers of text and images, what it refuses, and threads side by side."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    ViTConfig,
    ViTForImageClassification,
)
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from secure.ee.engine.server_engine import TransformersEngine
from secure.ee.files.manifest import read_manifest
from secure.models.checkpoint.folder import file_digest
from secure.parties.encrypted.client import GenerationClient
from secure.parties.encrypted.engine import EncoderInputs
from secure.parties.encrypted.limits import Admission, GenerationLimits
from secure.parties.encrypted.tokens import SamplingParameters, TokenPiece
from secure.protocols.core.errors import CheckpointError, InputError
from tests.secure.ee.serving import Start
from tests.secure.ee.tiny import Tiny

SHAPE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def engine_of(model: PreTrainedModel, folder: Path, tiny: Tiny, **manifest: str) -> TransformersEngine:
    """An engine over a model that is saved under a manifest of ours. The engine cannot tell how it was made."""
    model.save_pretrained(folder)
    files = {path.name: file_digest(path) for path in folder.iterdir()}
    dataclasses.replace(read_manifest(tiny.encrypted), files=files, **manifest).save(folder)
    return TransformersEngine(folder)


@pytest.fixture
def dial(start: Start, connect: Callable[..., GenerationClient], tiny: Tiny) -> Callable[..., GenerationClient]:
    return lambda engine: connect(start(engine), tiny.key.check_value)


def test_a_classifier_of_text(tiny: Tiny, tmp_path: Path, dial: Callable[..., GenerationClient]) -> None:
    torch.manual_seed(1)
    config = BertConfig(vocab_size=40, max_position_embeddings=12, num_labels=3, initializer_range=0.5, **SHAPE)
    model = BertForSequenceClassification(config).eval()
    client = dial(engine_of(model, tmp_path, tiny))
    rows, kinds = [[1, 2, 3, 4], [5, 6]], [[0, 0, 1, 1], [0, 1]]
    with torch.no_grad():
        expected = [
            model(torch.tensor([row]), token_type_ids=torch.tensor([kind]))
            for row, kind in zip(rows, kinds, strict=True)
        ]
        hidden = [model.bert(torch.tensor([row])).last_hidden_state[0] for row in rows]
    logits = client.classify(EncoderInputs(rows, kinds))
    torch.testing.assert_close(logits, torch.cat([output.logits for output in expected]))
    torch.testing.assert_close(client.embed(EncoderInputs(rows)), torch.stack([states.mean(0) for states in hidden]))
    for wrong, message in (
        ({"rows": [[40]]}, "token ids must be from 0 to 39"),
        ({"rows": [[1] * 13]}, "prompt has 13 tokens; this server takes at most 12"),
        ({"rows": [[1]], "token_types": [[2]]}, "this model has 2 token types"),
        ({"rows": [[1]], "token_types": [[0, 0]]}, "must have the lengths of the rows"),
        ({"pixels": torch.ones(1, 3, 8, 8)}, "takes token ids, not images"),
    ):
        with pytest.raises(InputError, match=message):
            client.classify(EncoderInputs(**wrong))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="does not generate"):
        list(client.generate([1], SamplingParameters(1)))
    with pytest.raises(InputError, match="does not generate"), client.sequence() as sequence:
        sequence.extend(torch.ones(1, 16))


def test_a_classifier_of_images(tiny: Tiny, tmp_path: Path, dial: Callable[..., GenerationClient]) -> None:
    torch.manual_seed(1)
    config = ViTConfig(image_size=8, patch_size=4, num_labels=5, initializer_range=0.5, **SHAPE)
    model = ViTForImageClassification(config).eval()
    client = dial(engine_of(model, tmp_path, tiny))
    images = torch.linspace(-1, 1, 2 * 3 * 64).view(2, 3, 8, 8)
    with torch.no_grad():
        expected = model(images)
        states = model.vit(images).last_hidden_state
    torch.testing.assert_close(client.classify(EncoderInputs(pixels=images)), expected.logits)
    torch.testing.assert_close(client.embed(EncoderInputs(pixels=images), "first"), states[:, 0])
    torch.testing.assert_close(client.embed(EncoderInputs(pixels=images), "none"), states)
    with pytest.raises(InputError, match=r"images must be \[3, 8, 8\]"):
        client.classify(EncoderInputs(pixels=images[..., :7]))
    with pytest.raises(InputError, match="takes no token ids"):
        client.classify(EncoderInputs([[1, 2]]))


def test_in_split_mode_ids_are_refused(tiny: Tiny, tmp_path: Path, dial: Callable[..., GenerationClient]) -> None:
    engine = engine_of(tiny.model, tmp_path, tiny, mode="split")
    client = dial(engine)
    with client.sequence() as sequence:
        assert sequence.extend(torch.ones(2, 32)).shape == (2, 32)
    for call in (lambda: client.generate([1], SamplingParameters(1)), lambda: client.embed(EncoderInputs([[1]]))):
        with pytest.raises(InputError, match="takes no token ids"):
            call()
    # The endpoint over HTTP has no client of ours before it.
    with pytest.raises(InputError, match="takes no token ids"):
        Admission(engine.served, GenerationLimits()).check_prompt([1], SamplingParameters(1))


def test_requests_side_by_side_do_not_disturb_each_other(tiny: Tiny, tiny_engine: TransformersEngine) -> None:
    prompts = [tiny.tokenizer(text)["input_ids"] for text in ("the", "cat sat", "日本", "on the mat")]

    def run(ids: list[int]) -> list[int]:
        out: list[int] = []
        tiny_engine.generate(
            tiny.vocabulary.encrypt_ids(ids),
            SamplingParameters(24),
            lambda piece: out.extend(piece.ids),
            threading.Event(),
        )
        return tiny.vocabulary.decrypt_ids(out)

    def draw(seed: int) -> list[int]:
        out: list[int] = []
        sampling = SamplingParameters(24, temperature=1.5, seed=seed)
        tiny_engine.generate([5, 6], sampling, lambda piece: out.extend(piece.ids), threading.Event())
        return out

    alone = [draw(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, prompts)) == [tiny.greedy(ids, 24) for ids in prompts]
        # Each request has a generator of its own, so a seed repeats a draw whatever else runs.
        assert list(pool.map(draw, range(4))) == alone


ROTATIONS: dict[str, dict[str, Any]] = {
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "longrope": {
        "rope_type": "longrope",
        "short_factor": [1.0] * 4,
        "long_factor": [8.0] * 4,
        "factor": 4.0,
        "original_max_position_embeddings": 16,
    },
}


@pytest.mark.parametrize("kind", ROTATIONS)
def test_sequences_of_several_lengths_keep_their_rotations(kind: str, tiny: Tiny, tmp_path: Path) -> None:
    parameters = {"rope_theta": 1e4, **ROTATIONS[kind]}
    config = LlamaConfig(vocab_size=40, max_position_embeddings=16, rope_parameters=parameters, **SHAPE)
    engine = engine_of(LlamaForCausalLM(config), tmp_path, tiny)
    x, positions = torch.zeros(1, 16), [torch.arange(length)[None] for length in (3, 20, 30)]
    # A new module for each: it knows no other sequence.
    due = [LlamaRotaryEmbedding(config)(x, each)[0] for each in positions]

    def differ(order: tuple[int, ...]) -> int:
        found = [(engine._model.model.rotary_emb(x, positions[i])[0], due[i]) for i in order * 300]
        return sum(not torch.equal(*pair) for pair in found)

    assert differ((0, 2, 1)) == 0
    # Threads take turns in the middle of a computation, too.
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(differ, [(0,), (1,), (2,)])) == [0, 0, 0]
    finally:
        sys.setswitchinterval(before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA card")
def test_a_card_gives_what_the_processor_gives(tiny: Tiny, tiny_engine: TransformersEngine) -> None:
    card = TransformersEngine(tiny.encrypted, "cuda")
    ids = tiny.vocabulary.encrypt_ids(tiny.tokenizer("the cat")["input_ids"])
    for sampling in (SamplingParameters(24), SamplingParameters(24, temperature=1.5, top_p=0.9, seed=3)):
        pieces: list[TokenPiece] = []
        card.generate(ids, sampling, pieces.append, threading.Event())
        out = [token for piece in pieces for token in piece.ids]
        assert len(out) == 24 or out[-1] == tiny.vocabulary.encrypt_ids([1])[0]
        if not sampling.temperature:
            assert tiny.vocabulary.decrypt_ids(out) == tiny.greedy(tiny.vocabulary.decrypt_ids(ids), 24)
    torch.testing.assert_close(
        card.embed(EncoderInputs([ids]), "mean"), tiny_engine.embed(EncoderInputs([ids]), "mean")
    )
    embeddings = torch.ones(3, 32)
    torch.testing.assert_close(card.begin().extend(embeddings), tiny_engine.begin().extend(embeddings))


def test_samples_follow_the_models_distribution(tiny: Tiny, tiny_engine: TransformersEngine) -> None:
    """First tokens of 400 draws against transformers' probabilities, by the distance that chance would give."""
    prompt = tiny.vocabulary.encrypt_ids([30, 31, 32])
    with torch.no_grad():
        logits = tiny_engine._model(torch.tensor([prompt])).logits[0, -1]
    expected = (logits / 1.5).softmax(-1)
    counts, draws = torch.zeros_like(expected), 400
    for seed in range(draws):
        tiny_engine.generate(
            prompt, SamplingParameters(1, 1.5, seed=seed), lambda piece: counts[piece.ids[0]].add_(1), threading.Event()
        )
    # E|n_i/n - p_i| is at most sqrt(p_i / n): the sum over i bounds the mean of the total distance.
    assert (counts / draws - expected).abs().sum() <= (expected / draws).sqrt().sum()
    assert (counts > 0).sum() > 5


def test_a_folder_that_transformers_cannot_load(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "unheard-of"}')
    files = {"config.json": file_digest(tmp_path / "config.json")}
    dataclasses.replace(read_manifest(tiny.encrypted), files=files).save(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        TransformersEngine(tmp_path)
