"""Right factors of ring products, prepared once: a model's weights meet every input that ever comes.

Two forms, the same numbers. *Words* are matrices of int64, or of int32 where the numbers are short, for the compiled
loop in `ring`. *Digits* are for processors and graphics cards that multiply bytes much faster than words (AMX, INT8
tensor cores). There every number is written with balanced digits, x = sum_i d_i 2^(8i) with d_i in [-128, 127], and
    x y mod 2^64 = sum_s 2^(8s) sum_{i+j=s} d_i(x) d_j(y),    s < 8:
36 products of bytes with 32-bit accumulators, exact as long as one sum has fewer than 2^17 terms.

Digits lie along the inner dimension: of x the lowest first, of y the highest first. So the pairs (i, j) with i + j = s
are one slice of x's digits times one slice of y's, and each s is a single product with a longer inner dimension.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor

from secure.protocols.core import ring
from secure.protocols.core.kernels.dispatch import step

_DIGIT_BITS = 8
_MOST_TERMS = (1 << 17) - 1
_ALIGNMENT = 16  # bytes: a graphics card asks for 8 of the inner and the right dimension, and reads 16 at a time
_FEWEST_ROWS_CUDA = 32  # it asks for more than 16
_FEW_ROWS = 64  # up to this many rows of x, reading y once counts for more than few passes over the result
_HALF_WORD = 1 << (ring.HALF_WORD_BITS - 1)
BALANCE = int.from_bytes(b"\x80" * 8, "little", signed=True)
"""0x80...80: added and taken away bit by bit, it turns bytes into balanced digits."""


class Factor(ABC):
    """y_1, y_2, ..., to be multiplied from the left: x_1 y_1 + x_2 y_2 + ... mod 2^bits."""

    @abstractmethod
    def product(self, xs: Sequence[Tensor], bits: int) -> Tensor:
        """The sum of products mod 2^bits, bits at most what was prepared. Shapes: int64 [..., K] each -> [..., N]."""

    def alone(self, number: int) -> Factor | None:
        """The factor of y_number alone, where that is kept by itself."""
        return None

    def in_memory(self) -> Factor:
        """This factor with all that it consists of in memory, to be copied from there."""
        return self


Keep = Callable[[Sequence[Tensor], int], Factor]
"""How a role keeps right factors: from y_1, y_2, ... and the ring's bits, as `prepare`. Shapes: int64 [K, N] each."""


@dataclass(frozen=True, eq=False)
class Prepared(Factor):
    """Right factors in one of the two forms, with the tensors that products are made of."""

    tensors: tuple[Tensor, ...] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Stacked(Factor):
    """Factors of some rows of every y each, which lie one below the other: a product is the sum of theirs."""

    parts: tuple[tuple[slice, Factor], ...]

    def product(self, xs: Sequence[Tensor], bits: int) -> Tensor:
        products = (part.product([x[..., rows] for x in xs], bits) for rows, part in self.parts)
        total = next(products)
        for product in products:
            total += product
        return total

    def alone(self, number: int) -> Factor | None:
        found = [(rows, part.alone(number)) for rows, part in self.parts]
        parts = tuple((rows, part) for rows, part in found if part is not None)
        return Stacked(parts) if len(parts) == len(found) else None


@dataclass(frozen=True, eq=False)
class Apart(Factor):
    """Factors of which each is kept by itself, so that a product with one of them reads no more than that one."""

    parts: tuple[Factor, ...]

    def product(self, xs: Sequence[Tensor], bits: int) -> Tensor:
        total, *others = (part.product([x], bits) for part, x in zip(self.parts, xs, strict=True))
        for product in others:
            total += product
        return total

    def alone(self, number: int) -> Factor:
        return self.parts[number]


def keep_rows(ys: Sequence[Tensor], most: int, keep: Callable[[list[Tensor]], Factor]) -> Factor:
    """The factor that keeps at most so many rows at a time. Shapes: [K, N] each, all the same."""
    count, most = len(ys[0]), max(1, most)
    windows = [slice(start, min(start + most, count)) for start in range(0, count, most)]
    parts = tuple((rows, keep([y[rows] for y in ys])) for rows in windows)
    return parts[0][1] if len(parts) == 1 else Stacked(parts)


def prepare(ys: Sequence[Tensor], bits: int, *, few_rows: bool = False, digits: bool | None = None) -> Prepared:
    """The form in which this device multiplies fastest; `digits` overrides that. Shapes: int64 [K, N] each.

    few_rows: of what they will mostly be multiplied by. On a CPU one row is multiplied as fast as memory brings words,
    while digits must be laid out anew for the multiplier of bytes each time.
    """
    if digits is None:
        digits = multiplies_bytes(ys[0].device) and not (few_rows and ys[0].device.type == "cpu")
    if digits:
        return _Digits.of(ys, bits)
    return _Words(tuple(y.to(_word_type(y, bits)).contiguous() for y in ys))


def prepare_apart(ys: Sequence[Tensor], bits: int, *, few_rows: bool = False) -> Apart:
    """Each of them by itself, as by `prepare`. Digits that lie together are multiplied up to a fourth faster."""
    return Apart(tuple(prepare([y], bits, few_rows=few_rows) for y in ys))


def _word_type(y: Tensor, bits: int) -> torch.dtype:
    """Half words where that says all: of a small ring, or of short numbers, as weights in the clear are.

    What a product with few rows takes is reading y. A share is uniform: already its first row is not short.
    """
    return torch.int32 if bits <= ring.HALF_WORD_BITS or (_is_short(y[:1]) and _is_short(y)) else torch.int64


def _is_short(y: Tensor) -> bool:
    least, largest = torch.aminmax(y)
    return int(least) >= -_HALF_WORD and int(largest) < _HALF_WORD


IN_MEMORY: Keep = prepare
"""The ordinary way: the tensors themselves are kept."""


@cache
def multiplies_bytes(device: torch.device) -> bool:
    """Whether products of bytes are so much faster than those of words that 36 of them are the better choice."""
    if device.type != "cpu":
        return device.type == "cuda"
    # An older torch cannot tell what the processor has.
    return hasattr(torch.cpu, "get_capabilities") and bool(torch.cpu.get_capabilities().get("amx_int8"))


@dataclass(frozen=True, eq=False)
class _Words(Prepared):
    """Tensors: y_1, y_2, ..., int64 or int32."""

    def product(self, xs: Sequence[Tensor], bits: int) -> Tensor:
        total = ring.matmul(xs[0], self.tensors[0], bits)
        for x, y in zip(xs[1:], self.tensors[1:], strict=True):
            total += ring.matmul(x, y, bits)
        return total


@dataclass(frozen=True, eq=False)
class _Digits(Prepared):
    """Tensors: blocks of rows of all y, one below the other: int8 [N, digits, rows], highest digit first."""

    columns: int

    @classmethod
    def of(cls, ys: Sequence[Tensor], bits: int) -> _Digits:
        count = ring.element_bytes(bits)
        most = _MOST_TERMS // count // _ALIGNMENT * _ALIGNMENT
        rows, columns = sum(len(y) for y in ys), ys[0].shape[1]
        blocks = []
        for start in range(0, rows, most):
            width = min(most, rows - start)
            shape = columns + -columns % _ALIGNMENT, count, width + -width % _ALIGNMENT
            planes = torch.zeros(shape, dtype=torch.int8, device=ys[0].device)
            for y, of_y, at in _overlaps(ys, 0, start, width):
                write_transposed_digits(y, of_y, planes, at)
            # A public weight is a short number: its highest digits are zero everywhere.
            first = next((i for i in range(count) if planes[:, i].any()), count - 1)
            blocks.append(planes[:, first:].contiguous())
        return cls(tuple(blocks), columns)

    def product(self, xs: Sequence[Tensor], bits: int) -> Tensor:
        shape, count = (*xs[0].shape[:-1], self.columns), ring.element_bytes(bits)
        parts, device = [x.reshape(-1, x.shape[-1]) for x in xs], xs[0].device
        m, n = parts[0].shape[0], self.tensors[0].shape[0]
        few = m <= _FEW_ROWS and device.type == "cpu"
        add_product = _add_by_digit_of_y if few else _add_by_sum_of_digits
        total = torch.zeros((n, m) if few else (m, n), dtype=torch.int64, device=device)
        start = 0
        for block in self.tensors:
            add_product(_digits_of(parts, start, count, block.shape[2]), block, total)
            start += block.shape[2]
        return (total.T if few else total)[:, : self.columns].reshape(shape)


FORMS: tuple[type[Factor], ...] = (_Words, _Digits, Stacked, Apart)
"""What factors in memory are made of."""


def _digits_of(parts: list[Tensor], start: int, count: int, width: int) -> Tensor:
    """Digits of `width` columns of the parts side by side, from `start` on, and zero behind the last one.

    Shapes: int64 [M, K] each -> int8 [M, count, width].
    """
    digits = torch.empty((parts[0].shape[0], count, width), dtype=torch.int8, device=parts[0].device)
    for part, columns, at in _overlaps(parts, 1, start, width):
        write_digits(part, columns, digits, at)
    digits[:, :, sum(part.shape[1] for part in parts) - start :] = 0
    return digits


def _overlaps(parts: Sequence[Tensor], dim: int, start: int, width: int) -> Iterator[tuple[Tensor, slice, int]]:
    """Which pieces of parts that lie end to end along `dim` fall into a window, and where in it each begins."""
    first = 0
    for part in parts:
        piece = slice(max(start, first) - first, min(start + width, first + part.shape[dim]) - first)
        if piece.start < piece.stop:
            yield part, piece, first + piece.start - start
        first += part.shape[dim]


def _add_by_sum_of_digits(x: Tensor, y: Tensor, total: Tensor) -> None:
    """total += x y, one product of bytes for each i + j: few passes over the result.

    Shapes: digits int8 [M, C, K] lowest first, [N, D, K] highest first, int64 [M, N].
    """
    (m, count, inner), (n, of_y, _) = x.shape, y.shape
    if x.device.type == "cuda":
        x = torch.nn.functional.pad(x, (0, 0, 0, 0, 0, max(-m % _ALIGNMENT, _FEWEST_ROWS_CUDA - m)))
    left, right = x.reshape(x.shape[0], -1), y.reshape(n, -1)
    parts = torch.empty((count, x.shape[0], n), dtype=torch.int32, device=x.device)
    for s in range(count):
        j = min(s, of_y - 1)  # the highest digit of y that takes part
        a, b = left[:, (s - j) * inner : (s + 1) * inner], right[:, (of_y - 1 - j) * inner :]
        torch._int_mm(a, b.T, out=parts[s])
    add_shifted(parts[:, :m].reshape(1, count, -1), [_DIGIT_BITS * s for s in range(count)], total.view(1, -1))


def _add_by_digit_of_y(x: Tensor, y: Tensor, total: Tensor) -> None:
    """total += (x y)^T, one product for each digit of y, so that y is read once, as it lies in memory.

    Shapes: int64 [N, M], the others as before.
    """
    (m, count, inner), (n, of_y, _) = x.shape, y.shape
    columns = x.transpose(0, 1).reshape(count * m, inner).T
    for j in range(min(of_y, count)):
        taken = count - j
        product = torch._int_mm(y[:, of_y - 1 - j], columns[:, : taken * m])
        add_shifted(product.reshape(n, taken, m), [_DIGIT_BITS * (i + j) for i in range(taken)], total)


def to_digits(x: Tensor, count: int) -> Tensor:
    """The `count` lowest balanced digits, lowest first. Shapes: int64 [R, K] -> int8 [R, count, K]."""
    return _digits_of([x], 0, count, x.shape[1])


@step
def write_digits(x: Tensor, columns: slice, digits: Tensor, at: int) -> None:
    """Digits of some columns of x, written to digits from column `at` on. Shapes: int64 [R, K], int8 [R, count, L]."""
    digits[:, :, at : at + columns.stop - columns.start] = _digits_as_planes(x[:, columns], digits.shape[1])


@step
def write_transposed_digits(y: Tensor, rows: slice, digits: Tensor, at: int) -> None:
    """Digits of some rows of y, written as columns, highest digit first.

    Shapes: int64 or int32 [K, N], int8 [N, count, L].
    """
    columns = y[rows].T.to(torch.int64)
    planes = _digits_as_planes(columns, digits.shape[1]).flip(1)
    digits[: columns.shape[0], :, at : at + columns.shape[1]] = planes


def _digits_as_planes(x: Tensor, count: int) -> Tensor:
    """The lowest digits, lowest first. Shapes: int64 [R, K] -> int8 [R, count, K].

    Adding 0x80...80 carries into the next digit exactly where a byte is above 127.
    """
    balanced = (x + BALANCE) ^ BALANCE
    return balanced.contiguous().view(torch.int8).reshape(*x.shape, 8)[..., :count].transpose(1, 2).contiguous()


@step
def add_shifted(parts: Tensor, shifts: list[int], total: Tensor) -> None:
    """total[r] += sum_p parts[r, p] 2^shifts[p]. Shapes: int32 [R, P, n], int64 [R, n]."""
    for p, shift in enumerate(shifts):
        total.add_(parts[:, p], alpha=1 << shift)
