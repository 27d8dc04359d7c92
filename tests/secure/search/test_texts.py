"""A search and a distillation of a classifier of texts, from lines of text and label to a checkpoint."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification
from typer.testing import CliRunner

import secure
from secure.cli.main import app
from secure.models.checkpoint.conversion import read_checkpoint
from secure.models.checkpoint.shapes import manifest_of_folder
from secure.models.contract.request import Request
from secure.models.price import price
from secure.protocols.core.errors import CheckpointError, InputError
from secure.search import AttentionPlan, Front
from secure.search.data import read_data
from secure.search.teacher import read_teacher
from secure.search.training import accuracy, answers
from tests.models.runs import clear_run
from tests.secure.letters import LETTERS, save_tokenizer

WORDS = {"upper": "ABCDEFGH", "lower": "abcdefgh"}


def texts(count: int) -> list[dict[str, str]]:
    """Texts of letters of both cases, and which of them are more."""
    draw, found = random.Random(3), []
    for number in range(count):
        label = list(WORDS)[number % 2]
        other = list(WORDS)[1 - number % 2]
        size = draw.randint(2, 4)
        letters = draw.choices(WORDS[label], k=size) + draw.choices(WORDS[other], k=size - 1)
        draw.shuffle(letters)
        found.append({"text": "".join(letters), "label": label})
    return found


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers, trained for about a second."""
    folder = tmp_path_factory.mktemp("texts") / "teacher"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(LETTERS),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=16,
            label2id={name: number for number, name in enumerate(WORDS)},
            id2label=dict(enumerate(WORDS)),
        )
        model = BertForSequenceClassification(config)
        model.save_pretrained(folder)
        save_tokenizer(folder, pad_token=".")
        examples = read_data(write(folder.parent / "train.jsonl", texts(400)), read_teacher(folder))
        optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
        for batch in (batch for epoch in range(6) for batch in examples.batches(50, epoch, None)):
            loss = model(input_ids=batch.inputs[:, 0], attention_mask=batch.inputs[:, 1], labels=batch.labels).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    model.save_pretrained(folder)
    assert accuracy(answers(model, examples.inputs), examples.labels) > 0.9
    return folder


def test_the_commands_make_a_student_of_texts_that_parties_serve(teacher: Path, tmp_path: Path) -> None:
    data, out, student = write(tmp_path / "some.jsonl", texts(100)), tmp_path / "out", tmp_path / "student"
    common = [str(teacher), "--data", str(data), "--epochs", "1"]
    done = CliRunner().invoke(app, ["search", *common, "--network", "wan", "--children", "3", "--out", str(out)])
    assert done.exit_code == 0, done.output
    plan = ["--plan", str(out / "pareto.json"), "--budget", "0.8"]
    done = CliRunner().invoke(app, ["distil", *common, *plan, "--out", str(student)])
    assert done.exit_code == 0, done.output
    front, raw = Front.read(out / "pareto.json"), json.loads((student / "config.json").read_text())
    chosen = front.within(0.8)
    assert raw["model_type"] == "mpc_bert" and AttentionPlan.from_fields(raw) == chosen
    (candidate,) = (each for each in front.candidates if each.plan == chosen)
    longest = max(len(row["text"]) for row in texts(100))
    due = price(manifest_of_folder(student), Request("logits", 1, longest, masked=False))
    assert (candidate.rounds, candidate.online_bytes) == (due.total.rounds, due.total.online_bytes)
    examples = read_data(data, read_teacher(student))
    inputs = {"input_ids": examples.inputs[:3, 0], "attention_mask": examples.inputs[:3, 1]}
    with torch.inference_mode():
        said = secure.reference(student)(**inputs).logits
    found = clear_run(read_checkpoint(student), "logits", inputs)["logits"]
    assert float((found - said).abs().max()) < 5e-3


def test_texts_become_ids_and_masks(teacher: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "two.jsonl", [{"text": "aB", "label": "lower"}, {"text": "ABc", "label": "upper"}])
    found = read_data(data, read_teacher(teacher))
    assert found.inputs[0].tolist() == [[LETTERS.index("a"), LETTERS.index("B"), 0], [1, 1, 0]]
    assert found.inputs[1, 1].tolist() == [1, 1, 1] and found.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('{"text": "a", "label": "upper"}', "has 1 lines; two texts are needed"),
        ('{"text": "a", "label": 0}\n{"text": 3, "label": 0}', r"line 2: it must be .*, or one of upper, lower"),
        ('{"text": "a", "label": "other"}\n\n{"text": "a", "label": 0}', "line 1: it must be"),
        ("{}\n[]", "line 1: it must be"),
        ('no json\n{"text": "a", "label": 0}', "line 1: it must be"),
    ],
)
def test_lines_that_are_wrong_are_refused_by_number(lines: str, said: str, teacher: Path, tmp_path: Path) -> None:
    path = tmp_path / "wrong.jsonl"
    path.write_text(lines, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read_data(path, read_teacher(teacher))


def test_other_inputs_and_models_are_refused(teacher: Path, tmp_path: Path) -> None:
    loaded, labels = read_teacher(teacher), torch.tensor([0, 1])
    for shape, said in (((2, 5), r"\[N, 2, T\] of at most 16 tokens"), ((2, 2, 17), "at most 16 tokens")):
        with pytest.raises(InputError, match=said):
            loaded.check(read_data((torch.zeros(shape), labels), loaded))
    with pytest.raises(InputError, match="ids are outside the 61 words"):
        loaded.check(read_data((torch.full((2, 2, 3), 61), labels), loaded))
    with pytest.raises(InputError, match="classifies texts"):
        read_data(tmp_path, loaded)
    raw = json.loads((teacher / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(raw | {"architectures": ["BertForTokenClassification"]}))
    with pytest.raises(CheckpointError, match="no classifier of whole inputs"):
        read_teacher(tmp_path)
