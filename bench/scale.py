"""How cost grows with one dimension of the input or of the model, next to the plaintext model's own growth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

from rich.console import Console

from bench.measure import EXCLUDES, INCLUDES, Setting, measure

Dimension = Literal["tokens", "batch", "layers", "hidden"]
VALUES: dict[Dimension, tuple[int, ...]] = {
    "tokens": (16, 32, 64, 128, 256, 512),
    "batch": (1, 2, 4, 8),
    "layers": (1, 2, 4, 6),
    "hidden": (128, 256, 512, 1024),
}
"""What each dimension takes when nothing is said."""
_FIGURES = (
    "median_seconds",
    "seconds",
    "plaintext_seconds",
    "rounds",
    "online_bytes",
    "dealer_bytes",
    "peak_memory_bytes",
    "max_error",
)


def measure_scale(dimension: Dimension, values: Sequence[int], setting: Setting, console: Console) -> dict[str, Any]:
    """The setting with each value of one dimension: the record of the results, smallest value first."""
    points: list[dict[str, Any]] = []
    for value in sorted(values):
        console.print(f"[bold]{dimension} {value}[/bold]")
        record = measure(setting_at(setting, dimension, value), console)
        points.append({"value": value} | {figure: record[figure] for figure in _FIGURES})
    return {
        "kind": "scale",
        "dimension": dimension,
        "setting": asdict(setting),
        "includes": INCLUDES,
        "excludes": EXCLUDES,
        "network": record["network"],
        "plaintext": record["plaintext"],
        "points": points,
    }


def setting_at(setting: Setting, dimension: Dimension, value: int) -> Setting:
    """The setting with one dimension changed; phases are not measured apart."""
    match dimension:
        case "tokens":
            changed = replace(setting, tokens=value)
        case "batch":
            changed = replace(setting, batch=value)
        case "layers":
            changed = replace(setting, layers=value)
        case "hidden":
            changed = replace(setting, hidden=value)
    return replace(changed, phases=False)


def growth_lines(record: dict[str, Any]) -> list[str]:
    """One line for each value: seconds and bytes, and how many times those of the first value they are."""
    points = record["points"]
    first = points[0]

    def times(point: dict[str, Any], figure: str) -> str:
        return f"{point[figure] / first[figure]:.2f}×"

    return [
        f"{record['dimension']} {point['value']:>5}: "
        f"{point['median_seconds']:8.3f} s ({times(point, 'median_seconds')}), "
        f"plaintext {1e3 * point['plaintext_seconds']:8.2f} ms ({times(point, 'plaintext_seconds')}), "
        f"online {point['online_bytes'] / 1e6:9.2f} MB ({times(point, 'online_bytes')}), "
        f"dealer {point['dealer_bytes'] / 1e6:9.2f} MB ({times(point, 'dealer_bytes')}), {point['rounds']} rounds"
        for point in points
    ]
