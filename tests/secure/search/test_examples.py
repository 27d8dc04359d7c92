"""What a search and a distillation take as examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from secure.protocols.core.errors import InputError
from secure.search.examples import examples_of

IMAGES = np.arange(20 * 4, dtype=np.float64).reshape(20, 1, 2, 2)
LABELS = np.arange(20) % 3


def test_pairs_files_and_data_sets_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, inputs=IMAGES, labels=LABELS)
    whole = examples_of((IMAGES, LABELS))
    pairs = torch.utils.data.TensorDataset(torch.tensor(IMAGES), torch.tensor(LABELS))
    for found in (examples_of(path), examples_of(str(path)), examples_of(pairs)):
        assert found.inputs.equal(whole.inputs) and found.labels.equal(whole.labels)
    assert whole.inputs.dtype == torch.float32 and whole.labels.dtype == torch.int64


def test_what_is_held_out_is_trained_with_by_nobody() -> None:
    trained, held_out = examples_of((IMAGES, LABELS)).held_out(4)
    assert (len(trained), len(held_out)) == (18, 2)
    seen = torch.cat([trained.inputs, held_out.inputs])[:, 0, 0, 0]
    assert sorted(seen.tolist()) == IMAGES[:, 0, 0, 0].tolist()
    assert examples_of((IMAGES, LABELS)).held_out(4)[1].inputs.equal(held_out.inputs)


def test_batches_are_an_order_of_their_own_for_each_seed() -> None:
    examples = examples_of((IMAGES, LABELS))
    first, again, other = ([b.labels.tolist() for b in examples.batches(6, seed, None)] for seed in (1, 1, 2))
    assert first == again != other and len(first) == 3
    (shifted,) = examples.batches(50, 1, lambda inputs, generator: inputs + torch.rand(1, generator=generator))
    assert len(shifted) == 20 and bool((shifted.inputs % 1 > 0).all())


@pytest.mark.parametrize(
    "data", [(IMAGES, LABELS[:3]), (IMAGES[0, 0, 0], LABELS), (IMAGES[:1], LABELS[:1])], ids=["few", "flat", "one"]
)
def test_examples_that_do_not_fit_are_refused(data: tuple[object, object]) -> None:
    with pytest.raises(InputError, match="each input has one label"):
        examples_of(data)


def test_another_file_is_refused_and_told_how_to_write_one(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with pytest.raises(InputError, match=r"FileNotFoundError; write one with numpy\.savez"):
        examples_of(path)
    np.savez(path, images=IMAGES)
    with pytest.raises(InputError, match="KeyError"):
        examples_of(path)
    np.savez(path, inputs=np.array([None, 1], dtype=object), labels=LABELS)
    with pytest.raises(InputError, match="ValueError"):  # nothing is unpickled
        examples_of(path)
