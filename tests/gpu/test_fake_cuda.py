"""Gates on a card that is not there: tensors without contents that know their device.

Every op is checked by torch to have all its operands on one device. What reads a tensor's contents, which only code for
the CPU may do, fails; so does an op that a real card does not have: products of integers, other than of bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from bench.gpu import equality, model
from bench.gpu.crossing import Crossing
from bench.gpu.roles import ROLES, Session
from secure.models.contract.manifest import WeightVisibility
from secure.protocols.core import factor, integer_functions, ring, transfer
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.core.kernels import dispatch
from secure.protocols.core.prg import Prg
from secure.protocols.masked import small_gates_on_host
from secure.protocols.masked.gate import Gate
from secure.protocols.masked.gates.linear import LinearShare, OpenedLinear
from secure.protocols.masked.gates.vanishing import SquaresVanish
from tests.gpu.gates import CASES, run_gate
from tests.sampling import sampled

CUDA = torch.device("cuda", 0)
aten = torch.ops.aten
_PRODUCTS = (aten.matmul, aten.linear, aten.mm, aten.bmm, aten.addmm, aten.baddbmm, aten.mv, aten.dot)


class OnCard(TorchDispatchMode):
    """What a card refuses, and answers for the questions that tensors without contents cannot answer."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        tensors = [x for x in args if isinstance(x, Tensor)]
        if func.overloadpacket in _PRODUCTS and any(
            x.device.type == "cuda" and not x.is_floating_point() for x in tensors
        ):
            raise AssertionError(f"{func} of integers: a card has no such product")
        if func is aten._int_mm.out or func is aten._int_mm.default:
            self._check_bytes(*tensors)
        if func in (aten._local_scalar_dense.default, aten.is_nonzero.default):
            return True  # "some digit is not zero"
        return func(*args, **(kwargs or {}))

    @staticmethod
    def _check_bytes(a: Tensor, b: Tensor) -> None:
        """What torch and cuBLAS ask of a product of bytes on a card."""
        assert a.shape[0] > 16, f"{a.shape[0]} rows; a card takes more than 16"
        assert a.shape[1] % 8 == 0 and b.shape[1] % 8 == 0, f"{tuple(a.shape)} by {tuple(b.shape)}: no multiples of 8"
        assert a.stride(1) == 1 and b.stride(0) == 1, "rows of the left and columns of the right factor are contiguous"
        assert a.stride(0) % 8 == 0 and b.stride(1) % 8 == 0


class WithoutDriver(TorchFunctionMode):
    """Moving, copying and indexing ask for the card's driver first, which a machine without a card has not."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in (Tensor.to, Tensor.cpu):
            return _moved(args[0], args[1:] or (torch.device("cpu"),))
        if func is Tensor.contiguous:
            return (
                args[0]
                if args[0].is_contiguous()
                else aten.clone.default(args[0], memory_format=torch.contiguous_format)
            )
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            return _indexed(func, args)
        if func is torch.tensor and kwargs and torch.device(kwargs.get("device", "cpu")).type == "cuda":
            made = func(*args, **{name: value for name, value in kwargs.items() if name != "device"})
            return torch.empty(made.shape, dtype=made.dtype, device=kwargs["device"])
        return func(*args, **(kwargs or {}))


def _moved(x: Tensor, targets: Sequence[torch.dtype | torch.device | str]) -> Tensor:
    device, dtype = x.device, x.dtype
    for target in targets:
        if isinstance(target, torch.dtype):
            dtype = target
        else:
            device = torch.device(target)
    if (device, dtype) == (x.device, x.dtype):
        return x
    return aten._to_copy.default(x, device=device, dtype=dtype)


def _indexed(func: Any, args: Sequence[Any]) -> Any:
    """Indexing as if all were on the host, once it is seen that all are on one device."""
    index = args[1] if isinstance(args[1], tuple) else (args[1],)
    tensors = [x for x in (args[0], *index, *args[2:]) if isinstance(x, Tensor)]
    device = args[0].device
    if isinstance(args[1], Tensor) and len(args) == 2:
        return aten.index.Tensor(args[0], [args[1]])
    assert all(x.device == device for x in tensors), f"indexing across {[x.device for x in tensors]}"
    here = [x for x in tensors if isinstance(x, FakeTensor)]
    for x in here:
        x.fake_device = torch.device("cpu")
    try:
        result = func(*args)
    finally:
        for x in here:
            x.fake_device = device
    if isinstance(result, FakeTensor):
        result.fake_device = device
    return result


@pytest.fixture(autouse=True)
def seen(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The boundary to the host gives and takes tensors of the right size, device and type. Where messages came from."""
    seen: set[str] = set()

    def words(
        self: Prg, gate: int, label: int, shape: tuple[int, ...], device: torch.device, bits: int = ring.WORD_BITS
    ) -> Tensor:
        return torch.empty(shape, dtype=ring.word_type(bits), device=device)

    def planes(self: Prg, gate: int, label: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
        return torch.empty(shape, dtype=torch.uint8, device=device)

    def received(payload: memoryview, device: torch.device) -> Tensor:
        return torch.empty(len(payload), dtype=torch.uint8, device=device)

    def payload_of(parts: Sequence[Tensor]) -> memoryview:
        assert all(part.device == parts[0].device and part.dtype == torch.uint8 and part.dim() == 1 for part in parts)
        seen.add(parts[0].device.type)
        return memoryview(bytes(sum(part.numel() for part in parts)))

    monkeypatch.setattr(small_gates_on_host, "MOST_ELEMENTS", -1)  # loops on the host want contents
    monkeypatch.setattr(dispatch, "form_for", lambda device: "plain")  # and so do those on a card
    monkeypatch.setattr(Prg, "words", words)
    monkeypatch.setattr(Prg, "planes", planes)
    monkeypatch.setattr(transfer, "received", received)
    monkeypatch.setattr(transfer, "payload_of", payload_of)
    monkeypatch.setattr("bench.gpu.roles._on_stream", lambda role, device: nullcontext())
    monkeypatch.setattr("torch.cuda.synchronize", lambda device: None)
    # A cache would hand tensors of one role's thread to another's, or keep them for the next test.
    for table in ("angles", "powers", "numbers"):
        monkeypatch.setattr(integer_functions, table, getattr(integer_functions, table).__wrapped__)
    return seen


@contextmanager
def fake(role: str) -> Iterator[None]:
    """One role's thread: its tensors have no contents."""
    with FakeTensorMode(allow_non_fake_inputs=True), OnCard(), WithoutDriver():
        yield


def test_the_imitation_notices_what_a_card_refuses() -> None:
    with torch.inference_mode(), fake("p0"):
        words = torch.empty((32, 32), dtype=torch.int64, device=CUDA)
        with pytest.raises(RuntimeError, match="same device"):
            words + torch.ones((32, 32), dtype=torch.int64)
        with pytest.raises(AssertionError, match="indexing across"):
            words[torch.tensor([1]), 0] = 5
        with pytest.raises(AssertionError, match="no such product"):
            words @ words
        with pytest.raises(AssertionError, match="more than 16"):
            torch._int_mm(words[:16].to(torch.int8), words.to(torch.int8))
        with pytest.raises(RuntimeError, match="not supported"):
            words.cpu().numpy()


TOLD = (SquaresVanish,)
"""Gates that tell the host something, and leave nothing on the card."""


@pytest.mark.parametrize(("gate", "label", "shapes"), sampled(CASES, lambda gate, label, shapes: [(gate, label)]))
def test_a_gate_stays_on_the_card(
    gate: type[Gate[Any]], label: str, shapes: tuple[tuple[int, ...], ...], seen: set[str]
) -> None:
    outcome = run_gate(gate, label, shapes, CUDA, around=fake)
    assert seen <= {"cuda"}
    for role in ("p0", "p1"):
        assert outcome.results[role], "a gate has a result"
        assert gate in TOLD or all(tensor.device == CUDA for tensor in outcome.results[role])


@pytest.mark.parametrize(("gate", "label", "shapes"), {case.values[0]: case for case in CASES}.values())
def test_a_small_gate_runs_on_the_host(
    gate: type[Gate[Any]],
    label: str,
    shapes: tuple[tuple[int, ...], ...],
    seen: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(small_gates_on_host, "MOST_ELEMENTS", 1 << 13)
    outcome = run_gate(gate, label, shapes, CUDA, around=fake)
    for role in ("p0", "p1"):
        assert gate in TOLD or all(tensor.device == CUDA for tensor in outcome.results[role])
    assert seen <= ({"cuda", "cpu"} if issubclass(gate, OpenedLinear | LinearShare | SquaresVanish) else {"cpu"})


@pytest.mark.slow  # the gates of all of them stand above
@pytest.mark.parametrize("name", list(dict(equality.PROGRAMS)))
@pytest.mark.parametrize("truncation", ["probabilistic", "exact"])
def test_a_program_stays_on_the_card(name: str, truncation: str) -> None:
    """Ops call gates in rings and on shapes that the table of gates has not."""
    function = dict(equality.PROGRAMS)[name]
    outcome = equality.run_program(function, FixedPointPolicy(truncation=truncation), CUDA, around=fake)
    assert all(len(outcome.results[role]) == len(outcome.results["p0"]) for role in ("p0", "p1"))


@pytest.mark.slow  # the gates of all of them stand above
@pytest.mark.parametrize("weights", ["private", "public", "server"])
def test_a_model_stays_on_the_card(weights: WeightVisibility) -> None:
    """Loading and predicting: what one keeps for the other lies on the card."""
    tiny = model.make_model(equality.TINY, weights)
    # Loading and predicting in one mode for each role: its tensors belong to it.
    modes = {role: FakeTensorMode(allow_non_fake_inputs=True) for role in ROLES}

    @contextmanager
    def around(role: str) -> Iterator[None]:
        with modes[role], OnCard(), WithoutDriver():
            yield

    loaded = model.load(tiny, CUDA, around=around)
    outcome = model.predict(tiny, loaded, CUDA, Session.number(1), around=around)
    assert [tuple(share.shape) for share in outcome.results["p0"]] == [(1, 9, 24), (1, 24)]


@pytest.mark.parametrize("rows", [1, 16, 17, 40])
@pytest.mark.parametrize("bits", [64, 47, 32])
def test_products_of_bytes_have_shapes_that_a_card_takes(rows: int, bits: int) -> None:
    with torch.inference_mode(), fake("p0"):
        xs = [torch.empty((rows, 9), dtype=torch.int64, device=CUDA) for _ in range(2)]
        prepared = factor.prepare([torch.empty((9, 5), dtype=torch.int64, device=CUDA) for _ in xs], bits)
        product = prepared.product(xs, bits)
        assert product.shape == (rows, 5) and product.device == CUDA


def test_batched_products_of_words_are_products_of_floats() -> None:
    with torch.inference_mode(), fake("p0"):
        a, b = (torch.empty(shape, dtype=torch.int64, device=CUDA) for shape in ((2, 3, 7, 9), (3, 9, 5)))
        assert ring.matmul(a, b, 48).shape == (2, 3, 7, 5)


def test_what_crosses_is_counted() -> None:
    crossing = Crossing()
    with torch.inference_mode(), FakeTensorMode(), WithoutDriver(), crossing.counted("p0"):
        there = torch.empty(10, dtype=torch.int64).to(CUDA)
        there.to(torch.uint8).cpu()
        there.to("cpu", torch.uint8)
        torch.empty(7, dtype=torch.uint8).copy_(torch.empty(7, dtype=torch.uint8, device=CUDA), non_blocking=True)
        there.clone().to(CUDA)
    assert crossing.bytes == {"p0": {"to_card": 80, "to_host": 27}}
