"""Which form of a step computes: chosen by the device of its tensors and by what this machine can compile."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from secure.protocols.core.kernels import dispatch
from secure.protocols.core.kernels.dispatch import Form, Step

CPU, CUDA, META = torch.device("cpu"), torch.device("cuda", 0), torch.device("meta")


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Step[..., str]:
    """A step that says which form computed, with forms for the CPU and for cards."""
    choices: dict[str, Form] = {"cpu": "cpu", "cuda": "card", "meta": "plain"}
    monkeypatch.setattr(dispatch, "form_for", lambda device: choices[device.type])
    step: Step[..., str] = Step(lambda *arguments, **options: "plain")
    step.on_cpu(lambda *arguments, **options: "cpu")
    step.on_card(lambda *arguments, **options: "card")
    return step


def test_the_first_tensor_or_device_chooses(named: Step[..., str]) -> None:
    here, nowhere = torch.zeros(3), torch.zeros(3, device=META)
    assert [named(here), named(nowhere), named(nowhere, here)] == ["cpu", "plain", "plain"]
    assert [named(b"", here), named(b"", (3,), CUDA), named(b"", device=CUDA)] == ["cpu", "card", "card"]
    assert named(b"", (3,)) == "cpu"


def test_the_plain_form_serves_where_there_is_no_loop(named: Step[..., str]) -> None:
    del named.forms["card"]
    assert named(b"", CUDA) == "plain"


def test_a_step_keeps_name_and_docstring() -> None:
    def doubled(x: Tensor) -> Tensor:
        """2 x."""
        return x + x

    step = Step(doubled)
    assert (step.__name__, step.__doc__) == ("doubled", "2 x.")


def test_whoever_computes_little_takes_loops_that_are_loaded_and_no_others(
    named: Step[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(dispatch._LOOPS, "cpu", ("cpu", "a compiler", ""))
    with dispatch.with_what_is_loaded():
        assert named(torch.zeros(3)) == "plain"
        assert named(torch.zeros(3, device=META)) == "plain"
        monkeypatch.setitem(sys.modules, "a compiler", sys)
        assert named(torch.zeros(3)) == "cpu"
        monkeypatch.delitem(sys.modules, "a compiler")
    assert named(torch.zeros(3)) == "cpu"


ALONE = """
import sys
import torch
from secure.protocols.core import ring, secret
assert not {{"numba", "triton"}} & set(sys.modules), "a compiler was imported before any step computed"
sys.modules.update(dict.fromkeys({missing}))
words = torch.arange(9)
packed = ring.pack(words, 40)
assert ring.unpack(packed.numpy().data, (9,), 40).tolist() == words.tolist()
print(*sorted({{"numba", "triton"}} & {{name for name, module in sys.modules.items() if module}}))
"""


@pytest.mark.parametrize(
    ("missing", "imported"), [(("numba",), ""), ((), "numba")], ids=["without numba", "with numba"]
)
def test_compilers_are_imported_when_a_step_computes_on_their_device(missing: tuple[str, ...], imported: str) -> None:
    program = ALONE.format(missing=missing)
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (found.stdout.strip(), found.returncode) == (imported, 0), found.stderr
