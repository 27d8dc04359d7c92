"""Trigonometric sums on a card."""

from __future__ import annotations

import torch
import triton.language as tl
from torch import Tensor

from secure.protocols.core.integer_functions import HALF_ANGLE, SCALE_BITS
from secure.protocols.core.kernels import harmonics
from secure.protocols.core.kernels.card.compiler import Block, Number, Pointer, launch, loop, places
from secure.protocols.core.kernels.card.selection import chosen
from secure.protocols.core.kernels.harmonics import Harmonics, loop_arguments

_BLOCK = 128
"""Elements of one program: each of them takes many steps."""


@harmonics.basis.on_card
def basis(x: Tensor, harmonics: Harmonics, less: int) -> Tensor:
    """See `harmonics.basis`."""
    periods, rows, step, angles = loop_arguments(harmonics, x.device)
    result = torch.empty((len(harmonics.numbers), 2, len(periods), len(x)), dtype=torch.int64, device=x.device)
    arguments = x.contiguous(), periods, rows, angles, result, len(rows), 1 << less >> 1, less
    launch(
        _harmonics,
        len(x),
        *arguments,
        others=(len(periods),),
        block=_BLOCK,
        step=step,
        half_angle=HALF_ANGLE,
        scale=SCALE_BITS,
    )
    return result


@harmonics.add_sum.on_card
def add_sum(result: Tensor, x: Tensor, harmonics: Harmonics, factors: Tensor, value: Tensor, shares: Tensor) -> None:
    """See `harmonics.add_sum`; the result is contiguous."""
    periods, rows, step, angles = loop_arguments(harmonics, x.device)
    tensors = x.contiguous(), periods, rows, angles, factors.contiguous(), value.contiguous(), shares.contiguous()
    launch(
        _add_harmonics,
        len(x),
        *tensors,
        result,
        len(rows),
        len(periods),
        block=_BLOCK,
        step=step,
        half_angle=HALF_ANGLE,
        scale=SCALE_BITS,
        always=shares.shape[1] == 2,
    )


@loop
def rounded(product: Block, drop: tl.constexpr) -> Block:
    half: tl.constexpr = 1 << (drop - 1)
    return (product + half) >> drop


@loop
def _rotated(a_cos: Block, a_sin: Block, b_cos: Block, b_sin: Block, scale: tl.constexpr) -> Block:
    return rounded(a_cos * b_cos - a_sin * b_sin, scale), rounded(a_cos * b_sin + a_sin * b_cos, scale)


@loop
def _phasor(
    x: Block, period: Pointer, angles: Pointer, inside: Block, half_angle: tl.constexpr, scale: tl.constexpr
) -> Block:
    """cos and sin of x mod a period."""
    size: tl.constexpr = 1 << half_angle
    angle = ((x & tl.load(period)) >> tl.load(period + 1)) << tl.load(period + 2)
    high, small = (angle >> half_angle) & (size - 1), angle & (size - 1)
    coarse_cos = tl.load(angles + high, mask=inside, other=0)
    coarse_sin = tl.load(angles + size + high, mask=inside, other=0)
    fine_cos = tl.load(angles + 2 * size + small, mask=inside, other=0)
    fine_sin = tl.load(angles + 3 * size + small, mask=inside, other=0)
    return _rotated(coarse_cos, coarse_sin, fine_cos, fine_sin, scale)


@loop
def _first_wave(
    x: Block,
    period: Pointer,
    angles: Pointer,
    inside: Block,
    step: tl.constexpr,
    half_angle: tl.constexpr,
    scale: tl.constexpr,
) -> Block:
    """cos and sin of x's angle, and of what turns one multiple of it into the next."""
    cos, sin = _phasor(x, period, angles, inside, half_angle, scale)
    by_cos, by_sin = cos, sin
    if step == 2:
        by_cos, by_sin = _rotated(cos, sin, cos, sin, scale)
    return cos, sin, by_cos, by_sin


@loop
def _harmonics(
    x: Pointer,
    periods: Pointer,
    rows: Pointer,
    angles: Pointer,
    result: Pointer,
    multiples: Number,
    half: Number,
    less: Number,
    count: Number,
    step: tl.constexpr,
    half_angle: tl.constexpr,
    scale: tl.constexpr,
    block: tl.constexpr,
) -> None:
    i, inside = places(count, block)
    j = tl.program_id(1).to(tl.int64)
    periods_count = tl.num_programs(1)
    cos, sin, by_cos, by_sin = _first_wave(
        tl.load(x + i, mask=inside), periods + 3 * j, angles, inside, step, half_angle, scale
    )
    for t in range(multiples):
        row = tl.load(rows + t) + tl.zeros((block,), tl.int64)
        kept = inside & (row >= 0)
        at = result + (2 * row * periods_count + j) * count + i
        tl.store(at, (cos + half) >> less, mask=kept)
        tl.store(at + periods_count * count, (sin + half) >> less, mask=kept)
        cos, sin = _rotated(cos, sin, by_cos, by_sin, scale)


@loop
def _add_harmonics(
    x: Pointer,
    periods: Pointer,
    rows: Pointer,
    angles: Pointer,
    factors: Pointer,
    value: Pointer,
    shares: Pointer,
    result: Pointer,
    multiples: Number,
    period_count: Number,
    count: Number,
    step: tl.constexpr,
    half_angle: tl.constexpr,
    scale: tl.constexpr,
    always: tl.constexpr,
    block: tl.constexpr,
) -> None:
    kinds: tl.constexpr = 2 if always else 4
    i, inside = places(count, block)
    c = tl.load(x + i, mask=inside)
    total = tl.load(result + i, mask=inside)
    for j in range(period_count):
        bit = tl.load(value + j * count + i, mask=inside)
        cos, sin, by_cos, by_sin = _first_wave(c, periods + 3 * j, angles, inside, step, half_angle, scale)
        for t in range(multiples):
            row = tl.load(rows + t) + tl.zeros((block,), tl.int64)
            kept = inside & (row >= 0)
            factor = factors + 2 * row * period_count + j
            a = tl.load(factor, mask=row >= 0, other=0)
            b = tl.load(factor + period_count, mask=row >= 0, other=0)
            share = shares + (kinds * row * period_count + j) * count + i
            for_cos = tl.load(share, mask=kept, other=0).to(tl.int64)
            for_sin = tl.load(share + (kinds // 2) * period_count * count, mask=kept, other=0).to(tl.int64)
            if not always:
                masked_cos = tl.load(share + period_count * count, mask=kept, other=0).to(tl.int64)
                masked_sin = tl.load(share + 3 * period_count * count, mask=kept, other=0).to(tl.int64)
                for_cos, for_sin = chosen(bit, for_cos, masked_cos), chosen(bit, for_sin, masked_sin)
            total += rounded(a * cos + b * sin, scale) * for_cos + rounded(a * sin - b * cos, scale) * for_sin
            cos, sin = _rotated(cos, sin, by_cos, by_sin, scale)
    tl.store(result + i, total, mask=inside)
