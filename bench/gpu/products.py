"""Products in Z_2^64 on one device: INT8 digits, float64 limbs, and int64 on the CPU. All are checked to be exact."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from secure.protocols.core import factor, ring

# [M, K] x [K, N]: the linear layers of BERT-base at 128 tokens, and a large square.
SHAPES = ((128, 768, 2304), (128, 768, 3072), (128, 3072, 768), (4096, 4096, 4096))
SMALL_SHAPES = ((128, 768, 2304),)
_ROTATED_BYTES = 1 << 28  # the right factors of one method together: more than a card's cache holds
_MOST_COPIES = 16
_WARM_UPS = 3
_LEAST_RUNS, _MOST_RUNS = 5, 50
_BUDGET_SECONDS = 0.5  # for the repeats of one method
_CPU_MACS = 1 << 28  # more are not waited for on the CPU: fewer rows then, as is said beside the figure
_SEED = 3

Method = Callable[[Tensor, Any], Tensor]


@dataclass(frozen=True)
class Candidate:
    """One way to multiply: what is made of the right factor beforehand, how it is applied, in which ring."""

    name: str
    prepare: Callable[[Tensor], Any]
    multiply: Method
    bits: int
    bytes_each: float  # of what `prepare` makes, per element


def candidates() -> list[Candidate]:
    """The ways on the device."""
    found = []
    for bits in (64, 48):
        found.append(_digits(bits))
        found.append(_limbs(bits))
    return found


def _digits(bits: int) -> Candidate:
    return Candidate(
        f"INT8 digits, {bits} bits",
        lambda b: factor.prepare([b], bits, digits=True),
        lambda a, prepared: prepared.product([a], bits),
        bits,
        bits / 8,
    )


def _limbs(bits: int) -> Candidate:
    return Candidate(
        f"float64 limbs, {bits} bits",
        lambda b: b,
        lambda a, b: ring.matmul.plain(a, b, bits),
        bits,
        8,
    )


def measure_products(shapes: tuple[tuple[int, int, int], ...], device: torch.device) -> list[dict[str, Any]]:
    """One row for each shape and method."""
    rows = []
    for shape in shapes:
        generator = torch.Generator().manual_seed(_SEED)
        m, k, n = shape
        a, b = (torch.randint(-(2**63), 2**63 - 1, size, generator=generator) for size in ((m, k), (k, n)))
        checked = max(1, min(m, _CPU_MACS // (k * n)))
        started = time.perf_counter()
        due = torch.matmul(a[:checked], b)
        rows.append(_row(shape, "CPU, torch int64", 64, time.perf_counter() - started, checked, exact=True))
        rows.append(_row(shape, *_on_cpu(a[:checked], b, due)))
        for candidate in candidates():
            seconds, found = _measure(candidate, a.to(device), b.to(device), device)
            exact = torch.equal(ring.low(found[:checked].cpu(), candidate.bits), ring.low(due, candidate.bits))
            rows.append(_row(shape, candidate.name, candidate.bits, seconds, m, exact=exact))
            del found
    return rows


def _on_cpu(a: Tensor, b: Tensor, due: Tensor) -> tuple[str, int, float, int, bool]:
    """What `protocols` does on the CPU of this machine."""
    prepared = factor.prepare([b], 64)
    prepared.product([a], 64)
    started = time.perf_counter()
    found = prepared.product([a], 64)
    form = "digits" if factor.multiplies_bytes(a.device) else "words"
    return f"CPU, ours by {form}", 64, time.perf_counter() - started, a.shape[0], torch.equal(found, due)


def _row(shape: tuple[int, int, int], name: str, bits: int, seconds: float, rows: int, exact: bool) -> dict[str, Any]:
    m, k, n = shape
    return {
        "shape": list(shape),
        "method": name,
        "bits": bits,
        "rows": rows,
        "milliseconds": seconds * 1e3 * m / rows,
        "gmac_per_second": rows * k * n / seconds / 1e9,
        "exact": exact,
    }


def _measure(candidate: Candidate, a: Tensor, b: Tensor, device: torch.device) -> tuple[float, Tensor]:
    """Median seconds of one product, right factors prepared and in turns; and the product."""
    size = candidate.bytes_each * b.numel()
    copies = max(1, min(_MOST_COPIES, int(_ROTATED_BYTES // size) + 1)) if device.type == "cuda" else 1
    prepared = [candidate.prepare(b + i) for i in range(copies)]
    seconds: list[float] = []
    started = time.perf_counter()
    for run in range(_WARM_UPS + _MOST_RUNS):
        took = _timed(partial(candidate.multiply, a, prepared[run % copies]), device)
        if run >= _WARM_UPS:
            seconds.append(took)
        if len(seconds) >= _LEAST_RUNS and time.perf_counter() - started > _BUDGET_SECONDS:
            break
    return statistics.median(seconds), candidate.multiply(a, prepared[0])


def _timed(work: Callable[[], Tensor], device: torch.device) -> float:
    if device.type != "cuda":
        begun = time.perf_counter()
        work()
        return time.perf_counter() - begun
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    start.record()
    work()
    stop.record()
    stop.synchronize()
    return float(start.elapsed_time(stop)) / 1e3


def bytes_fail(device: torch.device) -> str:
    """Why INT8 products cannot be used on this device; empty where they can. Tried on shapes that no model has."""
    generator = torch.Generator().manual_seed(_SEED)
    for m, k, n in ((1, 9, 5), (17, 130, 40), (128, 768, 96)):
        a, b = (torch.randint(-(2**63), 2**63 - 1, size, generator=generator) for size in ((m, k), (k, n)))
        try:
            found = factor.prepare([b.to(device)], 64, digits=True).product([a.to(device)], 64).cpu()
        except RuntimeError as error:
            return str(error).splitlines()[0][:200]
        if not torch.equal(found, torch.matmul(a, b)):
            return f"wrong for {m} by {k} by {n}"
    return ""


def stages(shape: tuple[int, int, int], device: torch.device) -> dict[str, float]:
    """Milliseconds of the parts of a product by digits: where a fused kernel would save."""
    m, k, n = shape
    generator = torch.Generator().manual_seed(_SEED)
    a = torch.randint(-(2**63), 2**63 - 1, (m, k), generator=generator).to(device)
    digits = factor.to_digits(a, 8)
    narrow = torch.zeros((m, n), dtype=torch.int32, device=device)
    parts, total = narrow.expand(8, m, n).contiguous(), narrow.to(torch.int64).view(1, -1)
    right = torch.randint(-128, 127, (n, 8 * k), generator=generator, dtype=torch.int8).to(device)
    left = digits.reshape(m, -1)

    def multiplied() -> Tensor:
        for s in range(8):
            torch._int_mm(left[:, : (s + 1) * k], right[:, (7 - s) * k :].T, out=parts[s])
        return parts

    def added() -> Tensor:
        factor.add_shifted(parts.view(1, 8, -1), [8 * s for s in range(8)], total)
        return total

    work = {"digits of the left factor": lambda: factor.to_digits(a, 8), "INT8 products": multiplied, "sum": added}
    found = {}
    for name, call in work.items():
        runs = [_timed(call, device) for _ in range(_WARM_UPS + _LEAST_RUNS)][_WARM_UPS:]
        found[name] = statistics.median(runs) * 1e3
    return found
