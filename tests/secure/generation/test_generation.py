"""generate and stream against transformers' own generate: on shares, and what the client does with answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerFast, TextStreamer
from transformers.generation.logits_process import LogitsProcessorList, SuppressTokensLogitsProcessor
from transformers.generation.stopping_criteria import MaxLengthCriteria
from transformers.generation.streamers import BaseStreamer

from secure.api import PrivateModel
from secure.connection import Parties
from secure.protocols.core.errors import CheckpointError, InputError
from secure.split import split
from tests.models.decoders import padded_at_the_start, save_decoder, words
from tests.sampling import product_of
from tests.secure.clear_client import ClearClient
from tests.secure.fakes import InProcessClient
from tests.secure.letters import LETTERS, MARGIN, due, save_tokenizer
from tests.secure.running import Running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-2; a full stop ends a text."""
    path = tmp_path_factory.mktemp("gpt2")
    save_decoder(path, "gpt2", spread=0.5)
    save_tokenizer(path, eos_token=".", pad_token=".")
    return path


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    from transformers import GPT2LMHeadModel

    return GPT2LMHeadModel.from_pretrained(folder).eval()


@pytest.fixture
def model(folder: Path, clear_parties: Parties) -> PrivateModel:
    """For tests of what the client does, whatever computes its logits."""
    return PrivateModel.from_pretrained(folder, parties=clear_parties)


@product_of(weights=["private", "public", "server"], reveal=["logits", "token"])
def test_greedy_tokens_are_those_of_transformers(
    folder: Path, parties: Parties, reference: Any, weights: Any, reveal: Any, client: InProcessClient
) -> None:
    model = PrivateModel.from_pretrained(folder, parties=parties, weights=weights)
    ids, mask = padded_at_the_start(words(2, 5))
    found = model.generate(ids, mask, max_new_tokens=8, reveal=reveal)
    assert found.dtype == torch.int64
    assert torch.equal(found, due(reference, ids, mask, max_new_tokens=8))
    assert len(client.requests) == 1
    assert model.report.tokens == 2 * (5 + found.shape[1] - 5 - 1)
    assert model.report.rounds > 0


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("llama", {}),
        ("mistral", {"sliding_window": 4}),
        pytest.param("qwen2", {"tie_word_embeddings": True}, marks=pytest.mark.slow),
    ],
)
def test_every_family_generates(family: str, changes: dict[str, Any], tmp_path: Path, parties: Parties) -> None:
    reference = save_decoder(tmp_path, family, seed=2, **changes)
    ids, mask = padded_at_the_start(words(2, 5))
    found = PrivateModel.from_pretrained(tmp_path, parties=parties).generate(
        ids, mask, max_new_tokens=6, eos_token_id=59
    )
    assert torch.equal(found, due(reference, ids, mask, max_new_tokens=6, eos_token_id=59))


@pytest.mark.parametrize("weights", ["private", pytest.param("public", marks=pytest.mark.slow)])
def test_padding_that_is_public(folder: Path, parties: Parties, reference: Any, weights: Any) -> None:
    model = PrivateModel.from_pretrained(folder, parties=parties, weights=weights)
    ids, mask = padded_at_the_start(words(3, 5))
    expected = due(reference, ids, mask, max_new_tokens=6)
    assert torch.equal(model.generate(ids, mask, max_new_tokens=6, padding="public"), expected)
    public = model.report
    assert torch.equal(model.generate(ids, mask, max_new_tokens=6, padding="secret"), expected)
    assert public.rounds < model.report.rounds
    assert public.online_bytes < model.report.online_bytes
    everything = torch.ones_like(ids)
    expected = due(reference, ids, everything, max_new_tokens=2)
    assert torch.equal(model.generate(ids, everything, max_new_tokens=2, padding="public"), expected)


@pytest.mark.parametrize("padding", ["secret", "public"])
def test_padding_within_a_row_is_refused(padding: Any, model: PrivateModel, clear_client: ClearClient) -> None:
    with pytest.raises(InputError, match="attention_mask row 1: a prompt to go on from is padded at its start alone"):
        mask = torch.tensor([[0, 1, 1], [1, 0, 1]])
        model.generate(words(2, 3), mask, max_new_tokens=2, padding=padding)
    assert clear_client.requests == []


def test_a_client_of_a_stock_asks_for_the_steps_of_a_deal_and_ends_early(
    model: PrivateModel, reference: Any, clear_client: ClearClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clear_client, "from_stock", True)
    ids = words(1, 5)
    found = model.generate(ids, max_new_tokens=4, eos_token_id=None)
    assert torch.equal(found, due(reference, ids, None, max_new_tokens=4, eos_token_id=None))
    assert found.shape == (1, 9)
    assert [request.steps for request in clear_client.requests] == [16]


def test_rows_end_by_themselves_and_are_padded(model: PrivateModel, reference: Any, clear_client: ClearClient) -> None:
    ids = words(3, 4)
    free = due(reference, ids, max_new_tokens=6, eos_token_id=60)
    ends = int(free[0, 6])  # what row 0 says at the third step ends it
    found = model.generate(ids, max_new_tokens=6, eos_token_id=[ends], pad_token_id=0)
    assert torch.equal(found, due(reference, ids, max_new_tokens=6, eos_token_id=[ends], pad_token_id=0))
    assert found[0, 6] == ends and not found[0, 7:].any()


def test_a_session_ends_when_every_row_has(model: PrivateModel, reference: Any) -> None:
    ids = words(1, 4)
    free = due(reference, ids, max_new_tokens=6, eos_token_id=60)
    found = model.generate(ids, max_new_tokens=6, eos_token_id=int(free[0, 6]))
    assert torch.equal(found, free[:, :7])
    assert model.report.tokens == 4 + 2


@pytest.mark.parametrize("reveal", ["logits", "token"])
def test_stop_strings(reveal: Any, model: PrivateModel, reference: Any) -> None:
    ids = words(1, 4)
    free = due(reference, ids, max_new_tokens=6, eos_token_id=60)
    stop = "".join(LETTERS[int(i)] for i in free[0, 4:6])
    found = model.generate(ids, max_new_tokens=6, eos_token_id=60, stop_strings=stop, reveal=reveal)
    assert torch.equal(found, free[:, :6])


@pytest.mark.parametrize("reveal", ["logits", "token"])
def test_stream_is_what_generate_appends(reveal: Any, model: PrivateModel) -> None:
    ids = words(2, 3)
    tokens = list(model.stream(ids, max_new_tokens=4, eos_token_id=60, reveal=reveal))
    assert torch.equal(torch.stack(tokens, 1), model.generate(ids, max_new_tokens=4, eos_token_id=60)[:, 3:])
    assert all(token.shape == (2,) and token.dtype == torch.int64 for token in tokens)


def test_a_stream_that_is_closed_ends_its_session(model: PrivateModel) -> None:
    stream = model.stream(words(1, 3), max_new_tokens=9, eos_token_id=60)
    next(stream)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert model.report.tokens == 3 + 1
    assert model.generate(words(1, 3), max_new_tokens=1).shape == (1, 4)


class Collector(BaseStreamer):
    def __init__(self) -> None:
        self.seen: list[Tensor] = []
        self.ended = 0

    def put(self, value: Tensor) -> None:
        self.seen.append(value)

    def end(self) -> None:
        self.ended += 1


@pytest.mark.parametrize("reveal", ["logits", "token"])
def test_streamers(reveal: Any, model: PrivateModel, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids, collector = words(1, 3), Collector()
    whole = model.generate(ids, max_new_tokens=3, eos_token_id=60, streamer=collector, reveal=reveal)
    assert torch.equal(torch.cat([part.reshape(-1) for part in collector.seen]), whole[0])
    assert collector.ended == 1
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    streamer = TextStreamer(tokenizer, skip_prompt=True)
    model.generate(ids, max_new_tokens=3, eos_token_id=60, streamer=streamer, reveal=reveal)
    assert tokenizer.decode(whole[0, 3:]) == "".join(LETTERS[int(i)] for i in whole[0, 3:])
    assert capsys.readouterr().out.strip() == "".join(LETTERS[int(i)] for i in whole[0, 3:])


def test_sampling_draws_from_the_models_distribution(model: PrivateModel, reference: Any) -> None:
    """As transformers draws, with the same seed: the logits differ by too little to matter but at the edge of a bin."""
    ids = words(1, 4)
    options: Any = {"max_new_tokens": 5, "temperature": 0.8, "top_k": 10, "top_p": 0.9, "eos_token_id": 60}
    torch.manual_seed(11)
    ours = model.generate(ids, do_sample=True, **options)
    torch.manual_seed(11)
    theirs = reference.generate(ids, attention_mask=torch.ones_like(ids), do_sample=True, pad_token_id=0, **options)
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, model.generate(ids, max_new_tokens=5, eos_token_id=60))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_new_tokens": 2, "max_length": 0}, "max_length is 0"),
        ({"max_new_tokens": 2, "min_new_tokens": -1}, "min_new_tokens is -1"),
        ({"max_new_tokens": 2, "min_p": 1.5}, "min_p is 1.5; it must be a number from 0 to 1"),
        ({"max_new_tokens": 2, "num_return_sequences": 0}, "num_return_sequences is 0"),
        ({"max_new_tokens": 2, "logits_processor": [3]}, "logits_processor is .*; it must be a list of functions"),
        ({"max_new_tokens": 2, "stopping_criteria": 3}, "stopping_criteria is 3"),
        ({"max_new_tokens": 2, "generation_config": {}}, "generation_config is a dict; it must be a transformers"),
        (
            {"generation_config": GenerationConfig(num_beams=2)},
            "^generation_config: num_beams is 2, which is",
        ),
        ({"output_scores": True}, "output_scores needs return_dict_in_generate=True"),
        ({"reveal": "token", "min_new_tokens": 2}, "min_new_tokens is 2 and needs logits"),
        ({"max_new_tokens": 2, "temprature": 0.5}, "does not know 'temprature'; did you mean 'temperature'"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_new_tokens": 30}, "4 tokens and 30 new ones; this model has room for 20 together"),
        ({"max_new_tokens": 2, "temperature": 0.0}, "temperature is 0"),
        ({"max_new_tokens": 2, "top_p": 1.5}, "top_p is 1.5"),
        ({"max_new_tokens": 2, "top_k": -1}, "top_k is -1"),
        ({"max_new_tokens": 2, "padding": "none"}, "padding is 'none'; it must be 'secret' or 'public'"),
        ({"max_new_tokens": 2, "reveal": "all"}, "reveal is 'all'; it must be 'logits' or 'token'"),
        ({"max_new_tokens": 2, "reveal": "token", "do_sample": True}, "do_sample is True and needs logits"),
        ({"max_new_tokens": 2, "temperature": "warm"}, "temperature is 'warm'"),
        ({"max_new_tokens": 2, "temperature": float("nan")}, "temperature is nan"),
        ({"max_new_tokens": 2, "top_p": "all"}, "top_p is 'all'"),
        ({"max_new_tokens": 2, "top_k": 1.5}, "top_k is 1.5"),
        ({"max_new_tokens": 2, "do_sample": "no"}, "do_sample is 'no'; it must be True or False"),
        ({"max_new_tokens": 2, "eos_token_id": "."}, "eos_token_id is '.'"),
        ({"max_new_tokens": 2, "eos_token_id": 0.5}, "eos_token_id is 0.5"),
        ({"max_new_tokens": 2, "eos_token_id": [[1]]}, r"eos_token_id is \[\[1\]\]; it must be a token id or several"),
        ({"max_new_tokens": 2, "pad_token_id": 61}, "pad_token_id is 61; the model knows tokens 0 to 60"),
        ({"max_new_tokens": 2, "pad_token_id": -1}, "pad_token_id is -1"),
        ({"max_new_tokens": 2, "pad_token_id": "."}, "pad_token_id is '.'; it must be a token id"),
        ({"max_new_tokens": 2, "stop_strings": ""}, "stop_strings is ''"),
        ({"max_new_tokens": 2, "stop_strings": [""]}, r"stop_strings is \[''\]; it must be a text or several"),
        ({"max_new_tokens": 2, "stop_strings": [3]}, r"stop_strings is \[3\]"),
        ({"max_new_tokens": 2, "stop_strings": 3}, "stop_strings is 3"),
        ({"max_new_tokens": 2, "reveal": None}, "reveal is None"),
        ({"max_new_tokens": 2, "repetition_penalty": 0}, "repetition_penalty is 0"),
        ({"max_new_tokens": 2, "suppress_tokens": 3}, "suppress_tokens is 3; it must be a list of token ids"),
        ({"max_new_tokens": 2, "num_beams": 4}, "generate does not know 'num_beams'; it takes max_new_tokens"),
    ],
)
def test_options_that_are_wrong(
    options: dict[str, Any], message: str, model: PrivateModel, clear_client: ClearClient
) -> None:
    with pytest.raises(InputError, match=message):
        model.generate(words(1, 4), **options)
    with pytest.raises(InputError, match=message):
        model.stream(words(1, 4), **options)
    assert clear_client.requests == []


@pytest.mark.filterwarnings("ignore:Using the model-agnostic default")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_length": 9},
        {"max_length": 5, "max_new_tokens": 3},
        {"max_new_tokens": 6, "min_new_tokens": 5, "eos_token_id": list(range(1, 40))},
        {"generation_config": GenerationConfig(max_new_tokens=5, repetition_penalty=1.7)},
        {"generation_config": GenerationConfig(max_new_tokens=5, repetition_penalty=1.7), "max_new_tokens": 3},
        {"max_new_tokens": 6, "stopping_criteria": [MaxLengthCriteria(max_length=7)]},
        {"max_new_tokens": 6, "logits_processor": LogitsProcessorList([SuppressTokensLogitsProcessor(range(30))])},
        {
            "max_new_tokens": 6,
            "suppress_tokens": [1, 2],
            "logits_processor": [SuppressTokensLogitsProcessor(range(30)), lambda ids, scores: scores.roll(1, -1)],
        },
        {"max_new_tokens": 3, "use_cache": False},
    ],
    ids=lambda options: "-".join(options),
)
def test_options_mean_what_they_mean_in_transformers(
    options: dict[str, Any], model: PrivateModel, reference: Any
) -> None:
    ids = words(2, 4)
    options = {"eos_token_id": 60} | options
    assert torch.equal(model.generate(ids, **options), due(reference, ids, **options))


@pytest.mark.parametrize(
    "options",
    [{"min_p": 0.05, "top_k": 0}, {"num_return_sequences": 3}, {"num_return_sequences": 2, "top_p": 0.8}],
    ids=lambda options: "-".join(options),
)
def test_options_of_sampling_mean_what_they_mean_in_transformers(
    options: dict[str, Any], model: PrivateModel, reference: Any
) -> None:
    ids, mask = padded_at_the_start(words(2, 4))
    options = {"max_new_tokens": 4, "eos_token_id": 60, "do_sample": True} | options
    torch.manual_seed(5)
    ours = model.generate(ids, mask, **options)
    torch.manual_seed(5)
    assert torch.equal(ours, reference.generate(ids, attention_mask=mask, pad_token_id=0, **options))


def test_scores_are_those_of_transformers(model: PrivateModel, reference: Any) -> None:
    ids = words(2, 4)
    options: Any = {"max_new_tokens": 3, "eos_token_id": 60, "suppress_tokens": [4, 5]}
    options |= {"return_dict_in_generate": True, "output_scores": True}
    ours, theirs = model.generate(ids, **options), reference.generate(ids, do_sample=False, **options)
    assert type(ours) is type(theirs) and torch.equal(ours.sequences, theirs.sequences)
    assert len(ours.scores) == len(theirs.scores) == 3
    for found, expected in zip(ours.scores, theirs.scores, strict=True):
        assert torch.equal(found.isinf(), expected.isinf())
        assert float((found - expected)[~expected.isinf()].abs().max()) < MARGIN / 2
    with pytest.raises(InputError, match="return_dict_in_generate: a text gives one text"):
        model.generate("abc", **options)
    with pytest.raises(InputError, match="output_scores is True and needs logits"):
        model.generate(ids, reveal="token", **options | {"suppress_tokens": None})


@pytest.mark.filterwarnings("ignore:Using the model-agnostic default")
def test_twenty_tokens_by_default_where_there_is_room(tmp_path: Path, clear_parties: Parties) -> None:
    reference = save_decoder(tmp_path, "gpt2", spread=0.5, n_positions=30, n_layer=1)
    ids = words(1, 5)
    model = PrivateModel.from_pretrained(tmp_path, parties=clear_parties)
    found = model.generate(ids, eos_token_id=60)
    assert found.shape == (1, 25) and torch.equal(found, due(reference, ids, eos_token_id=60))


def test_options_of_sampling_without_sampling_warn(model: PrivateModel, caplog: pytest.LogCaptureFixture) -> None:
    model.generate(words(1, 4), max_new_tokens=1, temperature=1.0, top_k=None, do_sample=False)
    assert not caplog.messages
    model.generate(words(1, 4), max_new_tokens=1, temperature=0.5)
    (said,) = caplog.messages
    assert said.startswith("temperature is 0.5 and changes nothing")


def test_options_that_are_none_are_left_out(model: PrivateModel, reference: Any) -> None:
    """As in transformers, where None also says that nothing ends a row."""
    ids = words(1, 4)
    ends = int(due(reference, ids, max_new_tokens=6, eos_token_id=60)[0, 5])
    nothing: Any = dict.fromkeys(("do_sample", "temperature", "top_k", "top_p", "eos_token_id", "stop_strings"))
    found = model.generate(ids, max_new_tokens=6, pad_token_id=None, **nothing)
    assert torch.equal(found, due(reference, ids, max_new_tokens=6, eos_token_id=None))
    tensor = model.generate(ids, max_new_tokens=6, eos_token_id=torch.tensor(ends))
    assert torch.equal(tensor, due(reference, ids, max_new_tokens=6, eos_token_id=ends))


def test_an_encoder_does_not_generate(checkpoint: Path, parties: Parties) -> None:
    encoder = PrivateModel.from_pretrained(checkpoint, parties=parties)
    with pytest.raises(InputError, match="it does not generate"):
        encoder.generate(words(1, 3) % 20, max_new_tokens=2)


def test_a_decoder_has_no_sentence_embeddings(model: PrivateModel) -> None:
    with pytest.raises(InputError, match="no sentence embeddings"):
        model.encode(["ab"])


def test_a_streamer_takes_one_prompt(model: PrivateModel) -> None:
    with pytest.raises(InputError, match="a streamer takes one prompt, not 2"):
        model.generate(words(2, 3), max_new_tokens=2, streamer=Collector())


def test_prompts_that_are_no_tensor_are_refused(model: PrivateModel) -> None:
    prompts: Any = {1, 2}
    for streamer in (None, Collector()):
        with pytest.raises(InputError, match="input_ids must be a torch tensor, a numpy array or a list, not set"):
            model.generate(prompts, max_new_tokens=2, streamer=streamer)


@pytest.mark.processes
@pytest.mark.xdist_group("parties")
def test_generation_by_three_processes(folder: Path, reference: Any, beaver: Running) -> None:
    ids = words(1, 4)
    parties = beaver.parties
    expected = due(reference, ids, max_new_tokens=8, eos_token_id=60)
    held = PrivateModel.from_pretrained(folder, parties=parties, weights="server")
    assert torch.equal(held.generate(ids, max_new_tokens=8, eos_token_id=60), expected)
    report = held.report
    assert sum(row.online_bytes for row in report.rows) == report.online_bytes - 16  # the seed of p0 and p1
    # P0 alone sends what P1 multiplies: one-hot vectors as long as the table, and in two layers what GELU gave and
    # what queries, keys and values are made of. P1 sends the seed.
    sent = {role: report.roles[role].bytes_sent[peer] for role, peer in (("p0", "p1"), ("p1", "p0"))}
    assert sent["p0"] - sent["p1"] == (4 + 7) * (3 * (61 + 20) + 8 * 2 * (96 + 24)) - 16
    model = PrivateModel.from_pretrained(folder, parties=parties)
    assert torch.equal(model.generate(ids, max_new_tokens=8, eos_token_id=60), expected)
    # The same parties after a session that ended early.
    first = next(iter(model.stream(ids, max_new_tokens=12, eos_token_id=60)))
    assert model.generate(ids, max_new_tokens=1, eos_token_id=60)[0, -1] == first[0]


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.xdist_group("parties")
def test_generation_by_three_processes_without_a_dealer(folder: Path, reference: Any, replicated: Running) -> None:
    ids, mask = padded_at_the_start(words(2, 5))
    expected = due(reference, ids, mask, max_new_tokens=6)
    parties = replicated.parties
    model = PrivateModel.from_pretrained(folder, parties=parties)
    assert torch.equal(model.generate(ids, mask, max_new_tokens=6), expected)
    assert torch.equal(model.generate(ids, mask, max_new_tokens=6, reveal="token"), expected)
    assert model.report.dealer_bytes == 0 and model.report.rounds > 0


def test_a_scale_of_the_stream_is_that_of_the_split_folder(folder: Path, parties: Parties, tmp_path: Path) -> None:
    ids = words(1, 4)
    split(folder, tmp_path / "shares", "private", stream_exponent=2)
    whole = PrivateModel.from_pretrained(folder, parties=parties, stream_exponent=2)
    shares = PrivateModel.from_pretrained(tmp_path / "shares", parties=parties)
    assert torch.equal(whole.generate(ids, max_new_tokens=4), shares.generate(ids, max_new_tokens=4))
    assert whole.manifest.config["stream_exponent"] == shares.manifest.config["stream_exponent"] == 2
    with pytest.raises(CheckpointError, match="was split with stream_exponent 2, 0 is asked for"):
        PrivateModel.from_pretrained(tmp_path / "shares", parties=parties, stream_exponent=0)
