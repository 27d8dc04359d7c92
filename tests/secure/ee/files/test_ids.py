"""Every field that holds ids moves with the vocabulary, and none that does not."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import GenerationConfig

from secure.ee.files.ids import decrypt_config, encrypt_config, with_default_ids, without_ids
from secure.protocols.core.errors import CheckpointError
from secure.protocols.equivariant.factors.vocabulary import Vocabulary
from secure.protocols.equivariant.key import Key

SIZE = 50
CONFIG: dict[str, Any] = {
    "vocab_size": SIZE,
    "hidden_size": 7,
    "bos_token_id": 1,
    "eos_token_id": [2, 9],
    "pad_token_id": -1,
    "sep_token_id": None,
    "decoder_start_token_id": 3,
    "image_token_index": 4,
    "forced_bos_token_id": 5,
    "forced_eos_token_id": [6, 7],
    "suppress_tokens": [8, 3, 30],
    "begin_suppress_tokens": [10, 11],
    "bad_words_ids": [[12, 13], [14]],
    "force_words_ids": [[15], [[16], [17, 18]]],
    "forced_decoder_ids": [[1, 19], [2, 20]],
    "sequence_bias": [[[21, 22], -1.5], [[23], 2.0]],
    "max_new_tokens": 24,
    "num_beams": 25,
    "return_token_type_ids": True,
    "text_config": {"bos_token_id": 26},
    "task_specific_params": {"summarization": {"eos_token_id": 27}},
}


@pytest.fixture(scope="module")
def vocabulary(key: Key) -> Vocabulary:
    return Vocabulary(key, SIZE)


def test_every_id_moves_and_nothing_else(vocabulary: Vocabulary) -> None:
    def t(*ids: int) -> list[int]:
        return vocabulary.encrypt_ids(ids)

    assert encrypt_config(CONFIG, vocabulary) == {
        **CONFIG,
        "bos_token_id": t(1)[0],
        "eos_token_id": sorted(t(2, 9)),
        "decoder_start_token_id": t(3)[0],
        "image_token_index": t(4)[0],
        "forced_bos_token_id": t(5)[0],
        "forced_eos_token_id": t(6, 7),
        "suppress_tokens": sorted(t(8, 3, 30)),
        "begin_suppress_tokens": sorted(t(10, 11)),
        "bad_words_ids": sorted([t(12, 13), t(14)]),
        "force_words_ids": [t(15), [t(16), t(17, 18)]],
        "forced_decoder_ids": [[1, *t(19)], [2, *t(20)]],
        "sequence_bias": sorted([[t(21, 22), -1.5], [t(23), 2.0]]),
        "text_config": {"bos_token_id": t(26)[0]},
        "task_specific_params": {"summarization": {"eos_token_id": t(27)[0]}},
    }


def test_the_order_of_a_set_does_not_show(vocabulary: Vocabulary) -> None:
    moved = encrypt_config({"suppress_tokens": list(range(SIZE))}, vocabulary)
    assert moved["suppress_tokens"] == list(range(SIZE))


def test_and_back(vocabulary: Vocabulary) -> None:
    back = decrypt_config(encrypt_config(CONFIG, vocabulary), vocabulary)
    assert back == {
        **CONFIG,
        "suppress_tokens": [3, 8, 30],
        "bad_words_ids": [[12, 13], [14]],
    }


def test_every_id_field_of_a_generation_config_is_known(vocabulary: Vocabulary) -> None:
    # Values that would be refused if they were taken for ids: a field that transformers adds shows up here.
    outside = SIZE + 1
    fields = GenerationConfig().to_dict()
    ids = {name for name in fields if name.endswith(("_token_id", "_token_ids", "words_ids"))}
    assert {"bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "bad_words_ids"} <= ids
    for name in ids | {"suppress_tokens", "begin_suppress_tokens", "forced_bos_token_id", "forced_eos_token_id"}:
        with pytest.raises(CheckpointError, match=name):
            encrypt_config({name: [outside]}, vocabulary)


def test_an_unknown_field_of_ids_is_refused_by_name(vocabulary: Vocabulary) -> None:
    with pytest.raises(CheckpointError, match="extra\\.magic_ids"):
        encrypt_config({"extra": {"magic_ids": [1, 2]}}, vocabulary)


def test_an_id_outside_the_vocabulary_is_refused_by_field(vocabulary: Vocabulary) -> None:
    with pytest.raises(CheckpointError, match="eos_token_id has id 50, the model knows 0 to 49"):
        encrypt_config({"eos_token_id": 50}, vocabulary)


def test_what_names_the_base_stays_at_the_client(vocabulary: Vocabulary) -> None:
    moved = encrypt_config(
        {"_name_or_path": "me/secret", "stop_strings": ["x"], "id2label": {"0": "spam", "1": "ham"}}, vocabulary
    )
    assert moved == {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}}


def test_code_of_its_own_is_refused(vocabulary: Vocabulary) -> None:
    with pytest.raises(CheckpointError, match="auto_map"):
        encrypt_config({"auto_map": {"AutoModel": "modeling.Mine"}}, vocabulary)


def test_without_ids_nothing_takes_a_default() -> None:
    assert without_ids({"eos_token_id": 2, "nested": {"suppress_tokens": [1]}, "hidden_size": 4}) == {
        "eos_token_id": None,
        "nested": {"suppress_tokens": None},
        "hidden_size": 4,
    }


def test_ids_that_are_left_to_defaults_are_spelled_out() -> None:
    defaults = {"bos_token_id": 1, "eos_token_id": 50256, "pad_token_id": None, "hidden_size": 9}
    assert with_default_ids({"hidden_size": 4}, defaults, SIZE) == {
        "hidden_size": 4,
        "bos_token_id": 1,
        "eos_token_id": None,
    }
    assert with_default_ids({"bos_token_id": None}, defaults, SIZE)["bos_token_id"] is None
