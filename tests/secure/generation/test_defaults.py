"""What a checkpoint says about generation: as transformers takes it, or refused by its name, never ignored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from secure.api import PrivateModel
from secure.connection import Parties
from secure.generation.defaults import NOT_SERVED, NOT_SERVED_OF_SAMPLING
from secure.generation.options import CALLERS, GenerationOptions
from secure.protocols.core.errors import CheckpointError, InputError
from secure.split import split
from tests.models.decoders import padded_at_the_start, save_decoder, words
from tests.sampling import product_of
from tests.secure.clear_client import ClearClient
from tests.secure.letters import LETTERS, due, save_tokenizer

# Fields that leave the tokens as they are: what is returned; speed; how a beam, which is
# not served, or an encoder, which there is none of, is used; a softmax that is none of ours.
IRRELEVANT = [
    "early_stopping",
    "length_penalty",
    "use_mtp",
    "use_cache",
    "cache_implementation",
    "cache_config",
    "max_cache_len",
    "encoder_repetition_penalty",
    "encoder_no_repeat_ngram_size",
    "decoder_start_token_id",
    "renormalize_logits",
    "remove_invalid_values",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "output_logits",
    "return_dict_in_generate",
    "bos_token_id",
    "is_assistant",
    "num_assistant_tokens",
    "num_assistant_tokens_schedule",
    "assistant_confidence_threshold",
    "prompt_lookup_num_tokens",
    "max_matching_ngram_size",
    "assistant_early_exit",
    "assistant_lookbehind",
    "target_lookbehind",
    "assistant_ensemble_weight",
    "speculation_type",
    "compile_config",
    "disable_compile",
    "continuous_batching_config",
    "low_memory",
    "prefill_chunk_size",
    "transformers_version",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_decoder(tmp_path, "gpt2", spread=0.5)
    return tmp_path


def say(folder: Path, *, file: str = "generation_config.json", **fields: Any) -> None:
    """Fields that are not given stay, but for eos: no token ends a row."""
    path = folder / file
    stored = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(stored | {"eos_token_id": 60} | fields))


def plain(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def test_every_field_of_transformers_has_its_place() -> None:
    served = set(GenerationOptions.__annotations__) - {*CALLERS, "generation_config"}
    places = [*served, *NOT_SERVED, *NOT_SERVED_OF_SAMPLING, *IRRELEVANT]
    assert len(places) == len(set(places))
    assert {name for name in vars(transformers.GenerationConfig()) if not name.startswith("_")} - set(places) == set()


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"repetition_penalty": 1.5}, marks=pytest.mark.slow),
        pytest.param({"no_repeat_ngram_size": 1}, marks=pytest.mark.slow),
        pytest.param({"suppress_tokens": list(range(1, 30))}, marks=pytest.mark.slow),
        {"begin_suppress_tokens": list(range(1, 30))},
        {"repetition_penalty": 2, "no_repeat_ngram_size": 2, "suppress_tokens": [3, 4, 5]},
    ],
)
def test_processors_are_those_of_transformers(fields: dict[str, Any], folder: Path, clear_parties: Parties) -> None:
    ids, mask = padded_at_the_start(words(2, 4))
    say(folder)
    without = due(plain(folder), ids, mask, max_new_tokens=8)
    fields = {name: float(value) if name == "repetition_penalty" else value for name, value in fields.items()}
    say(folder, **fields)
    expected = due(plain(folder), ids, mask, max_new_tokens=8)
    assert not torch.equal(expected, without), "the fields change nothing in this test"
    model = PrivateModel.from_pretrained(folder, parties=clear_parties)
    assert torch.equal(model.generate(ids, mask, max_new_tokens=8), expected)
    say(folder, **dict.fromkeys(fields))
    options: Any = fields
    model = PrivateModel.from_pretrained(folder, parties=clear_parties)
    assert torch.equal(model.generate(ids, mask, max_new_tokens=8, **options), expected)
    assert torch.equal(model.generate(ids, mask, max_new_tokens=8, reveal="token"), without)


@pytest.mark.filterwarnings("ignore:Using the model-agnostic default")
@pytest.mark.parametrize(
    "fields", [{"max_new_tokens": 3}, {"max_length": 9}, {"min_new_tokens": 6, "eos_token_id": list(range(1, 50))}]
)
def test_lengths_as_the_checkpoint_says(fields: dict[str, Any], folder: Path, clear_parties: Parties) -> None:
    say(folder, **fields)
    ids = words(1, 4)
    found = PrivateModel.from_pretrained(folder, parties=clear_parties).generate(ids)
    assert torch.equal(found, due(plain(folder), ids))


@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
def test_sampling_as_the_checkpoint_says(file: str, folder: Path, clear_parties: Parties) -> None:
    if file == "config.json":
        (folder / "generation_config.json").unlink()
    say(folder, file=file, do_sample=True, temperature=0.8, top_k=10, top_p=0.9)
    ids = words(1, 4)
    torch.manual_seed(11)
    theirs = plain(folder).generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=5)
    model = PrivateModel.from_pretrained(folder, parties=clear_parties)
    torch.manual_seed(11)
    assert torch.equal(model.generate(ids, max_new_tokens=5), theirs)
    greedy = due(plain(folder), ids, max_new_tokens=5, do_sample=False)
    assert torch.equal(model.generate(ids, max_new_tokens=5, do_sample=False), greedy)
    assert torch.equal(model.generate(ids, max_new_tokens=5, do_sample=False, reveal="token"), greedy)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_beams": 4}, "generation_config.json: num_beams is 4, which is not served"),
        ({"num_return_sequences": 3}, "num_return_sequences is 3 in the checkpoint's generation_config.json"),
        ({"bad_words_ids": [[3]]}, "generation_config.json: bad_words_ids"),
        ({"do_sample": True, "typical_p": 0.5}, "generation_config.json: typical_p is 0.5"),
        ({"do_sample": True, "temperature": 0.0}, "temperature is 0.0 in the checkpoint's generation_config.json"),
        ({"repetition_penalty": "2"}, "repetition_penalty is '2' in the checkpoint's generation_config.json"),
        ({"stop_strings": "a"}, "stop_strings need the tokenizer"),
    ],
)
def test_what_is_not_served_is_named(
    fields: dict[str, Any], message: str, folder: Path, clear_parties: Parties, clear_client: ClearClient
) -> None:
    say(folder, **fields)
    model = PrivateModel.from_pretrained(folder, parties=clear_parties)
    for begin in (model.generate, model.stream):
        with pytest.raises(InputError, match=message):
            begin(words(1, 3), max_new_tokens=2)
    assert clear_client.requests == []


def test_what_changes_nothing_is_let_through(folder: Path, clear_parties: Parties) -> None:
    neutral = {**NOT_SERVED, "min_p": 0.1, "typical_p": 0.5, "temperature": 0.0, "max_length": 20, "somebodys": 1}
    say(folder, **neutral)
    assert PrivateModel.from_pretrained(folder, parties=clear_parties).generate(
        words(1, 3), max_new_tokens=2
    ).shape == (1, 5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("do_sample", True),
        ("repetition_penalty", 1.2),
        ("no_repeat_ngram_size", 2),
        ("suppress_tokens", [3]),
        ("begin_suppress_tokens", [3]),
    ],
)
def test_with_the_token_alone_what_needs_logits_is_refused(
    name: str, value: Any, folder: Path, clear_parties: Parties, clear_client: ClearClient
) -> None:
    say(folder)
    options: Any = {name: value}
    with pytest.raises(InputError, match=f"^{name} is .* and needs logits"):
        PrivateModel.from_pretrained(folder, parties=clear_parties).generate(
            words(1, 3), max_new_tokens=2, reveal="token", **options
        )
    say(folder, **options)
    model = PrivateModel.from_pretrained(folder, parties=clear_parties)
    with pytest.raises(InputError, match=f"^{name} is .* in the checkpoint's generation_config.json and needs logits"):
        model.generate(words(1, 3), max_new_tokens=2, reveal="token")
    assert clear_client.requests == []
    options = {name: None}
    assert model.generate(words(1, 3), max_new_tokens=2, reveal="token", **options).shape == (1, 5)


@product_of(
    file=["generation_config.json", "config.json"],
    tokenizer=[None, {}, {"eos_token": ".", "pad_token": "a"}],
    cut=[False, True],
)
def test_the_checkpoint_says_what_ends_a_row_and_what_follows(
    file: str, tokenizer: dict[str, str] | None, cut: bool, folder: Path, clear_parties: Parties, tmp_path: Path
) -> None:
    """Whatever a tokenizer says, and of a split folder, too."""
    if tokenizer is not None:
        save_tokenizer(folder, **tokenizer)
    if file == "config.json":
        (folder / "generation_config.json").unlink()
    ids = words(3, 4)
    say(folder, file=file)
    ends = int(due(plain(folder), ids, max_new_tokens=6)[0, 6])
    say(folder, file=file, eos_token_id=[59, ends], pad_token_id=7)
    expected = due(plain(folder), ids, max_new_tokens=6)
    assert expected[0, 6:].tolist() == [ends, 7, 7, 7]
    if cut:
        split(folder, tmp_path / "shares", "private")
    model = PrivateModel.from_pretrained(tmp_path / "shares" if cut else folder, parties=clear_parties)
    assert torch.equal(model.generate(ids, max_new_tokens=6), expected)
    found = model.generate(ids, max_new_tokens=6, pad_token_id=None)
    assert found[0, 7:].tolist() == [59, 59, 59]
    nothing = model.generate(ids, max_new_tokens=6, eos_token_id=None)
    assert torch.equal(nothing, due(plain(folder), ids, max_new_tokens=6, eos_token_id=None))


def test_where_the_checkpoint_says_nothing_the_tokenizer_does(folder: Path, clear_parties: Parties) -> None:
    ids = words(3, 4)
    say(folder)
    free = due(plain(folder), ids, max_new_tokens=6)
    ends = int(free[0, 6])
    save_tokenizer(folder, eos_token=LETTERS[ends], pad_token="b")
    say(folder, eos_token_id=None)
    say(folder, file="config.json", eos_token_id=None)
    found = PrivateModel.from_pretrained(folder, parties=clear_parties).generate(ids, max_new_tokens=6)
    assert torch.equal(found, due(plain(folder), ids, max_new_tokens=6, eos_token_id=ends, pad_token_id=2))


def test_padding_that_is_no_token_of_the_model_is_not_used(folder: Path, clear_parties: Parties) -> None:
    ids = words(3, 4)
    say(folder)
    ends = int(due(plain(folder), ids, max_new_tokens=6)[0, 6])
    say(folder, eos_token_id=ends, pad_token_id=-1)
    found = PrivateModel.from_pretrained(folder, parties=clear_parties).generate(ids, max_new_tokens=6)
    assert found[0, 6:].tolist() == [ends] * 4


@pytest.mark.parametrize(("name", "value"), [("eos_token_id", "."), ("pad_token_id", [3])])
def test_what_is_no_token_is_refused(name: str, value: Any, folder: Path, clear_parties: Parties) -> None:
    say(folder, **{name: value})
    with pytest.raises(CheckpointError, match=rf"generation_config\.json: {name} is "):
        PrivateModel.from_pretrained(folder, parties=clear_parties)
