"""Exactness and cost of equivariant encryption in Markdown."""

from __future__ import annotations

from typing import Any

from bench.tables import table

Record = dict[str, Any]


def summary(record: Record) -> str:
    """The figures in a few lines, and differences by shape."""
    greedy, speed = record["greedy"], record["throughput"]
    low, high = speed["interval"]
    gap_low, gap_high = greedy["bfloat16 difference"]["interval"]
    plain, encrypted = (greedy[f"bfloat16 {side} with float32"]["tokens"] for side in ("plain", "encrypted"))
    lines = [
        f"Equivariant encryption (`{record['command']}`), encrypted beside plain:",
        "",
        f"- greedy tokens that agree in float32: {greedy['float32']['tokens']:.2%} of {greedy['prompts']:,} prompts × "
        f"{greedy['new_tokens']} tokens; in bfloat16, with float32: plain {plain:.2%}, encrypted {encrypted:.2%} "
        f"(difference {gap_low:+.2%} to {gap_high:+.2%})",
        f"- sentence embeddings of MiniLM: cosine at least 1 − {record['embeddings']['one_minus_smallest']:.0e}",
        f"- tokens per second, encrypted over plain: {speed['encrypted_over_plain']:.3f} "
        f"(95 % {low:.3f} to {high:.3f}, {speed['pairs']} pairs)",
        f"- on the wire: {record['wire']['bytes_per_token']:.0f} bytes a token to the server, "
        f"{record['wire']['bytes_per_token_back']:.0f} back ({record['wire']['bytes_per_token_streamed']} in a stream, "
        "a message each)",
    ]
    if "transform" in record:
        transform = record["transform"]
        lines.append(
            f"- encrypting {transform['parameters'] / 1e9:.2f}e9 parameters: {transform['seconds']:.0f} s, "
            f"{transform['parameters_per_second'] / 1e6:.1f}e6 a second, without files"
        )
    rows = [
        [row["shape"], f"{row['parameters']:,}", f"{row['float64']:.1e}", f"{row['float32']:.1e}"]
        for row in record["differences"]
    ]
    headings = ["Shape, random weights", "Parameters", "Relative difference, float64", "float32"]
    return "\n".join(lines) + "\n\n" + table(headings, rows)
