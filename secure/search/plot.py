"""pareto.svg: every plan of a front, its predicted seconds and its divergence from the teacher's answers."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from secure.search.front import Front

PLOT_NAME = "pareto.svg"
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 420, 70, 30, 40, 60
_TICKS = 5


def draw(front: Front, folder: Path) -> Path:
    """Write the plot. Whoever points at a dot is told its plan."""
    points = [(each.seconds, each.divergence) for each in front.candidates]
    right, up = (max([axis[i] for axis in points] + [1e-9]) * 1.05 for i in range(2))
    places = [(_across(seconds / right), _down(nats / up)) for seconds, nats in points]
    setting = front.setting
    title = f"{setting.get('network')}, {setting.get('protocol')}, {setting.get('weights')} weights"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_LEFT}" y="24" font-size="14">{escape(title)}</text>',
        *_axes(right, up),
        f'<polyline fill="none" stroke="#4477aa" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>',
    ]
    for (x, y), each in zip(places, front.candidates, strict=True):
        said = f"{each.plan}: {each.seconds:.3g} s ({each.relative_seconds:.2f}), {each.divergence:.3g} nats"
        lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#4477aa"><title>{escape(said)}</title></circle>')
    path = folder / PLOT_NAME
    path.write_text("\n".join([*lines, "</svg>"]) + "\n", encoding="utf-8")
    return path


def _axes(right: float, up: float) -> Sequence[str]:
    lines = [
        f'<path d="M{_LEFT} {_TOP} V{_HEIGHT - _BOTTOM} H{_WIDTH - _RIGHT}" fill="none" stroke="black"/>',
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 14}" text-anchor="middle">predicted seconds of a session</text>',
        f'<text transform="translate(18 {_HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
        "divergence from the teacher, before training, in nats</text>",
    ]
    for tick in range(_TICKS + 1):
        part = tick / _TICKS
        x, y = _across(part), _down(part)
        lines.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{right * part:.2g}</text>')
        lines.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{up * part:.2g}</text>')
    return lines


def _across(part: float) -> float:
    return _LEFT + part * (_WIDTH - _LEFT - _RIGHT)


def _down(part: float) -> float:
    return _HEIGHT - _BOTTOM - part * (_HEIGHT - _TOP - _BOTTOM)
