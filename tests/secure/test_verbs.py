"""PrivateModel and EncryptedModel by one list of calls: the same verbs, arguments, defaults and kinds of results."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification, GenerationConfig, TextStreamer

from secure.api import PrivateModel
from secure.connection import Parties
from secure.ee.client.model import EncryptedModel
from secure.ee.owner.encrypt import encrypt_checkpoint
from secure.protocols.core.errors import InputError, SessionError
from secure.protocols.equivariant.key import Key
from tests.models.decoders import padded_at_the_start, save_decoder, words
from tests.secure.clear_client import ClearClient
from tests.secure.conftest import VOCABULARY
from tests.secure.letters import save_tokenizer

Model = PrivateModel | EncryptedModel
VERBS = ("generate", "stream", "encode", "__call__", "unload", "__enter__", "__exit__")
OWN = {"encode": {"pooling", "normalize"}}
"""What EncryptedModel has beyond: the parties compute the mean, of length 1."""
REPORTED = ("seconds", "sessions", "sequences", "tokens", "input_bytes", "output_bytes")
CLOSE = 1e-2


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("decoder")
    save_decoder(folder, "gpt2", spread=0.5)
    save_tokenizer(folder, eos_token=".", pad_token=".")
    return folder


@pytest.fixture(scope="module")
def classifier(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of sentences, with the tokenizer of `checkpoint`."""
    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(4)
    config = BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=24, num_hidden_layers=1, num_attention_heads=3, intermediate_size=37,
        max_position_embeddings=20, id2label={0: "no", 1: "yes", 2: "perhaps"}, initializer_range=0.2,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    for name in ("vocab.txt", "tokenizer_config.json"):
        (folder / name).write_bytes((checkpoint / name).read_bytes())
    return folder


def both(folder: Path, tmp_path: Path, **options: Any) -> tuple[PrivateModel, EncryptedModel]:
    """The model of a plain checkpoint, in shares and encrypted."""
    key = Key(bytes(range(32)))
    encrypt_checkpoint(folder, key, tmp_path / "encrypted")
    private = PrivateModel.from_pretrained(folder, parties=Parties(ClearClient()), **options)
    return private, EncryptedModel.from_pretrained(tmp_path / "encrypted", key=key, assume="none", **options)


@pytest.mark.parametrize("verb", VERBS)
def test_signatures_are_the_same(verb: str) -> None:
    private, encrypted = (inspect.signature(getattr(each, verb)).parameters for each in (PrivateModel, EncryptedModel))
    own = OWN.get(verb, set())
    assert [p for p in encrypted.values() if p.name not in own] == list(private.values())
    assert own <= set(encrypted)
    assert all(encrypted[name].default is not inspect.Parameter.empty for name in own)


IDS, MASK = padded_at_the_start(words(2, 5))
ONE = words(1, 4)
STOP = {"max_new_tokens": 6, "stop_strings": ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m"]}
CALLS: dict[str, Callable[[Model], Any]] = {
    "ids": lambda model: model.generate(IDS, MASK, max_new_tokens=6),
    "ids of 32 bits": lambda model: model.generate(ONE.int(), max_new_tokens=3),
    "by name": lambda model: model.generate(input_ids=ONE, attention_mask=torch.ones_like(ONE), max_new_tokens=3),
    "a text": lambda model: model.generate("abc", max_new_tokens=6),
    "ids in a stream": lambda model: list(model.stream(IDS, MASK, max_new_tokens=5)),
    "a text in a stream": lambda model: list(model.stream("abc", max_new_tokens=6)),
    "ids to a stop": lambda model: model.generate(ONE, **STOP),  # type: ignore[typeddict-item]
    "a text to a stop": lambda model: model.generate("abc", **STOP),  # type: ignore[typeddict-item]
    "a stream to a stop": lambda model: list(model.stream("abc", **STOP)),  # type: ignore[typeddict-item]
    "a list": lambda model: model.generate(ONE.tolist(), [[1, 1, 1, 1]], max_new_tokens=3),
    "an array": lambda model: model.generate(IDS.numpy(), MASK.numpy(), max_new_tokens=3),
    "twenty": lambda model: model.generate(ONE),
    "a length with the prompt": lambda model: model.generate(ONE, max_length=7, use_cache=False),
    "a configuration": lambda model: model.generate(
        ONE, generation_config=GenerationConfig(max_new_tokens=9, stop_strings=["q"]), max_new_tokens=2
    ),
    "a criterion": lambda model: model.generate(ONE, stopping_criteria=[lambda ids, scores: ids.shape[1] >= 6]),
    "sequences in a dictionary": lambda model: (
        model.generate(ONE, max_new_tokens=3, return_dict_in_generate=True).sequences
    ),
    "what it says of itself": lambda model: [
        type(model.config).__name__,
        model.config.vocab_size,
        str(model.device),
        model.eval() is model,
    ],
    "other padding": lambda model: model.generate(IDS, MASK, max_new_tokens=6, pad_token_id=3),
    "a streamer": lambda model: model.generate(ONE, max_new_tokens=3, streamer=TextStreamer(model.tokenizer)),
    "a streamer of text": lambda model: model.generate("ab", max_new_tokens=3, streamer=TextStreamer(model.tokenizer)),
}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    return type(a) is type(b) and bool(a == b)


def test_generation_is_the_same(decoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private, encrypted = both(decoder, tmp_path)
    for name, call in CALLS.items():
        results, printed = [], []
        for model in (private, encrypted):
            results.append(call(model))
            printed.append(capsys.readouterr().out)
        assert same(*results), name
        assert printed[0] == printed[1], name
        assert bool(printed[0]) == name.startswith("a streamer"), name
        costs, due = encrypted.report, private.report
        assert costs.sequences == due.sequences, name
        assert costs.sessions == costs.sequences
        assert all(getattr(costs, field) > 0 for field in REPORTED), name
        assert all(getattr(due, field) > 0 for field in REPORTED), name
    # What `generate` adds is what `stream` gives.
    assert CALLS["a text"](private) == "abc" + "".join(CALLS["a text in a stream"](private))


REFUSED: dict[str, Callable[[Model], Any]] = {
    "max_length is 4, and the prompt has 4 tokens": lambda model: model.stream(ONE, max_length=4),
    "num_return_sequences is 2, and without do_sample": lambda model: model.generate(ONE, num_return_sequences=2),
    "does not know 'max_tokens'; did you mean 'max_new_tokens'": lambda model: model.generate(ONE, max_tokens=2),  # type: ignore[call-arg]
    "input_ids must be a torch tensor, a numpy array or a list, not dict": lambda model: model.generate({}),  # type: ignore[arg-type]
    "input_ids must be numbers in rows of equal length": lambda model: model.generate([[3, 4], [5]]),
    "temperature is 0": lambda model: model.generate(ONE, max_new_tokens=2, do_sample=True, temperature=0.0),
    "stop_strings is ''": lambda model: model.generate("ab", max_new_tokens=2, stop_strings=""),
    "does not know 'num_beams'": lambda model: model.generate(ONE, max_new_tokens=2, num_beams=3),  # type: ignore[call-arg]
    "the prompt is empty": lambda model: model.generate("", max_new_tokens=2),
    "room for 20 together": lambda model: model.stream(ONE, max_new_tokens=30),
    "a streamer takes one prompt, not 2": lambda model: model.generate(
        IDS, MASK, max_new_tokens=2, streamer=TextStreamer(model.tokenizer)
    ),
}


def test_a_report_counts_what_went_out_and_came_back(decoder: Path, tmp_path: Path) -> None:
    private, encrypted = both(decoder, tmp_path)
    for model in (private, encrypted):
        with pytest.raises(InputError, match="there is no report yet"):
            _ = model.report
    encrypted.generate(ONE, max_new_tokens=3, eos_token_id=[0, 5])
    report = encrypted.report
    assert (report.tokens, report.input_bytes, report.output_bytes) == (4, 4 * (4 + 1), 4 * 3)
    encrypted(ONE)
    # Hidden states of four tokens, in 32 bits.
    assert encrypted.report.output_bytes == 4 * 4 * encrypted(ONE).last_hidden_state.shape[-1]
    assert str(report).startswith("Input    1 sequence in 1 request, 4 tokens\n")
    stream = encrypted.stream(ONE, max_new_tokens=6)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert encrypted.report.tokens == 4


def test_what_is_wrong_is_said_in_the_same_words(decoder: Path, tmp_path: Path) -> None:
    for model in both(decoder, tmp_path):
        for message, call in REFUSED.items():
            with pytest.raises(InputError, match=message):
                call(model)


def test_what_only_one_of_them_can_do_is_refused_by_the_other(decoder: Path, tmp_path: Path) -> None:
    _, encrypted = both(decoder, tmp_path)
    options: list[dict[str, Any]] = [
        {"top_k": 5},
        {"repetition_penalty": 1.2},
        {"reveal": "token"},
        {"padding": "public"},
        {"min_p": 0.1},
        {"min_new_tokens": 1},
        {"logits_processor": [lambda ids, scores: scores]},
        {"output_scores": True, "return_dict_in_generate": True},
    ]
    for option in options:
        with pytest.raises(InputError, match=f"{next(iter(option))} is .*leave it out"):
            encrypted.generate(ONE, max_new_tokens=2, **option)  # type: ignore[typeddict-item]
    with pytest.raises(InputError, match="eos_token_id must hold the checkpoint's own"):
        encrypted.generate(ONE, max_new_tokens=2, eos_token_id=3)


def test_classes_embeddings_and_labels_are_the_same(classifier: Path, tmp_path: Path) -> None:
    private, encrypted = both(classifier, tmp_path)
    assert private.id2label == encrypted.id2label == {0: "no", 1: "yes", 2: "perhaps"}
    assert private.tokenizer is not None
    inputs = private.tokenizer(["the cat sat", "rain"], padding=True, return_tensors="pt")
    found, expected = encrypted(**inputs), private(**inputs)
    assert type(found) is type(expected)
    assert float((found.logits - expected.logits).abs().max()) < CLOSE
    with private, encrypted:
        found, expected = (model.encode(["rain", "the sun is warm"], batch_size=1) for model in (encrypted, private))
    assert found.dtype == expected.dtype and float((found - expected).abs().max()) < CLOSE


def test_an_unloaded_model_says_so(decoder: Path, tmp_path: Path) -> None:
    private, encrypted = both(decoder, tmp_path)
    for model in (private, encrypted):
        model.unload()
        model.unload()
    with pytest.raises(SessionError, match="the model is unloaded"):
        encrypted.generate(ONE, max_new_tokens=1)


def test_hidden_states_are_the_same(classifier: Path, tmp_path: Path) -> None:
    private, encrypted = both(classifier, tmp_path, head=False)
    ids = torch.tensor([[2, 7, 3], [2, 3, 0]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    found, expected = (model(ids, mask).last_hidden_state[mask.bool()] for model in (encrypted, private))
    assert float((found - expected).abs().max()) < CLOSE
