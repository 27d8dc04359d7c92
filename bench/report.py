"""README's table of measured figures, written from bench/results and from nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- measured:begin -->", "<!-- measured:end -->"


def table(records: list[dict[str, Any]]) -> str:
    """Markdown for the section between the markers."""
    lines = [
        "*Online* is what P0 and P1 send together, *dealer* is what the dealer sends; both are payload bytes. Time is",
        "the median of the runs after a warm-up, from the client's tensors to its result, with all processes on one",
        "machine. Error is the largest difference of the last hidden state from transformers in float32.",
        "",
        "| Model | Weights | Batch × tokens | Time | Load | Rounds | Online MB | Dealer MB | Memory | Error | Run |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for record in records:
        setting = record["setting"]
        memory = max(record["peak_memory_bytes"].values())
        cells = [
            setting["model"] + (f", {setting['layers']} layers" if setting["layers"] else ""),
            setting["weights"],
            f"{setting['batch']} × {setting['tokens']}",
            f"{record['median_seconds']:.2f} s",
            f"{record['load_seconds']:.1f} s",
            f"{record['rounds']:,}",
            f"{record['online_bytes'] / 1e6:.1f}",
            f"{record['dealer_bytes'] / 1e6:.1f}",
            f"{memory / 1e9:.2f} GB",
            f"{record['max_error']:.1e}",
            f"`{record['command']}`",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    machines = {
        f"{r['machine']['processor']}, {r['machine']['cores']} cores, {r['machine']['memory_gib']} GiB" for r in records
    }
    lines += ["", f"Machine: {'; '.join(sorted(machines))}. Each row is a file in `bench/results/` with its commit,"]
    lines += ["versions and cost by op. Run the command to repeat a row, then `python -m bench report`."]
    return "\n".join(lines)


def update_readme(records: list[dict[str, Any]], path: Path = README) -> None:
    """Replace what stands between the markers."""
    text = path.read_text(encoding="utf-8")
    start, stop = text.index(BEGIN) + len(BEGIN), text.index(END)
    path.write_text(f"{text[:start]}\n{table(records)}\n{text[stop:]}", encoding="utf-8")
