"""From rows of the suite to what may be claimed: secure/ee/files/red_team.json, which the API obeys.

broken   the tier falls without traffic: the API refuses it
limited  only attacks on traffic succeed: it holds up to so many tokens under one key and epoch
held     nothing that was tried passed the threshold
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from bench.attack.view import TIERS, Configuration

FILE = Path(__file__).parent.parent.parent / "secure" / "ee" / "files" / "red_team.json"
FORMAT = 1
ABOVE_CHANCE = 0.10
THRESHOLD = (
    "broken: the lower end of the 95 % interval of the share of content tokens read exceeds chance by 0.10; content "
    "tokens are those whose id does not occur in the public chat template, whose ids are lost at once"
)
Row = dict[str, Any]


def configurations(noise: float) -> dict[Configuration, str]:
    """What was attacked, in words."""
    return {
        "permutation": "permutations of vocabulary, residual stream, heads and neurons; every value keeps its bits",
        "full": "the full group",
        "noise": f"the full group and noise of {noise:g} of each weight's root mean square",
        "finetuned": "the full group on a model tuned in secret from a public one, which the attacker has",
        "split": "the full group; the client keeps embedding and head and sends vectors",
    }


def verdicts(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, Any]]]:
    """One for each tier and configuration. A higher tier can do all that a lower one can."""
    return {
        tier: {
            configuration: _verdict([row for row in rows if _counts(row, tier, configuration)])
            for configuration in get_args(Configuration)
        }
        for tier in TIERS
    }


def write(
    rows: Sequence[Row], noise: float, model: str, runs: Sequence[dict[str, Any]], file: Path = FILE
) -> dict[str, Any]:
    """Writes the file that claims are made from. Rows must be of every attack against every configuration.

    runs: of the suite, by what `bench.attack.record` says of each.
    """
    content = {
        "format": FORMAT,
        "runs": [{name: run[name] for name in ("command", "commit", "date")} for run in runs],
        "model": model,
        "threshold": {"above_chance": ABOVE_CHANCE, "words": THRESHOLD},
        "tiers": TIERS,
        "noise_level": noise,
        "configurations": configurations(noise),
        "verdicts": verdicts(rows),
    }
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return content


def passes(row: Row) -> bool:
    """Whether an attack passed the threshold."""
    return bool(row["interval"][0] > row["chance"] + ABOVE_CHANCE)


def _counts(row: Row, tier: str, configuration: str) -> bool:
    # Text that leaked is more than a tier has. What it gives is in the record.
    if row.get("leaked"):
        return False
    # Ids look the same whatever is done to weights, so traffic attacks on `full` stand for all but split mode.
    same = row["configuration"] == configuration or (
        row["tokens"] > 0 and row["configuration"] == "full" and configuration != "split"
    )
    return same and row["tier"] <= tier


def _verdict(rows: Sequence[Row]) -> dict[str, Any]:
    still = [row for row in rows if row["tokens"] == 0]
    moving = sorted((row for row in rows if row["tokens"] > 0), key=lambda row: row["tokens"])
    successful = [row for row in still if passes(row)]
    if successful:
        return _cell("broken", _strongest(successful), 0)
    passed = [row for row in moving if passes(row)]
    if passed:
        needed = passed[0]["tokens"]
        safe = max((row["tokens"] for row in moving if row["tokens"] < needed), default=0)
        strongest = _strongest([row for row in passed if row["tokens"] == needed])
        later = _strongest([row for row in moving if row["tokens"] == moving[-1]["tokens"]])
        cell = _cell("limited", strongest, safe)
        return cell | {"figure": f"{cell['figure']}; {_figure(later)}"} if later is not strongest else cell
    most = max((row["tokens"] for row in moving), default=0)
    return _cell("held", _strongest(list(rows)), most)


def _strongest(rows: Sequence[Row]) -> Row:
    return max(rows, key=lambda row: (row["interval"][0], row["recovery"], -row["seconds"]))


def _cell(status: str, row: Row, limit: int) -> dict[str, Any]:
    return {
        "status": status,
        "attack": row["attack"],
        "attack_name": row["name"],
        "recovery": round(row["recovery"], 4),
        "interval": [round(bound, 4) for bound in row["interval"]],
        "chance": round(row["chance"], 4),
        "tokens": row["tokens"],
        "tokens_limit": limit,
        "figure": _figure(row),
    }


def _figure(row: Row) -> str:
    traffic = f"after {row['tokens']:,} tokens under one key" if row["tokens"] else "without any traffic under the key"
    if row["attack"] in ("A8", "A9", "A10", "A13"):
        traffic = "of any session that the server runs"
    return f"{row['attack']} ({row['name']}) reads {row['recovery']:.1%} {traffic} (chance {row['chance']:.1%})"
