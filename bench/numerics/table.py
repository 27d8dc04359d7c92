"""Our functions and PUMA's in Markdown."""

from __future__ import annotations

from typing import Any

from bench.tables import table

Record = dict[str, Any]
_WHOSE = {"float": "exact, in float32", "ours": "ours", "puma": "PUMA's"}


def compared(record: Record) -> str:
    """Three tables: functions alone, sentence embeddings, perplexity."""
    functions = [
        [
            row["name"],
            row["range"],
            _WHOSE[row["functions"]],
            f"{row['max_error']:.1e}",
            f"{row['mean_error']:.1e}",
            f"{row['bytes_per_party']:.1f}",
            f"{row['rounds']}",
        ]
        for row in record["functions"]
    ]
    sentences = [
        [
            "{} to {}".format(*row["tokens"]),
            f"{row['sentences']}",
            _WHOSE[row["functions"]],
            f"{row['lowest_cosine']:.7f}",
            f"{row['mean_cosine']:.7f}",
        ]
        for row in record["embeddings"]["rows"]
    ]
    language = record["perplexity"]
    perplexities = [
        [_WHOSE[row["functions"]], f"{row['perplexity']:.4f}", f"{row['largest_logit_error']:.1e}"]
        for row in language["rows"]
    ]
    return "\n\n".join(
        [
            "## Our functions and PUMA's",
            f"`{record['command']}`. Included: {record['includes']}.\n"
            f"Excluded: {record['excludes']}.\n"
            "Both are computed by the same comparisons, products and truncations, and formulas alone differ: bytes\n"
            "and rounds of PUMA's are not those of its own implementation. Bytes: sent by a party for each element,\n"
            "in the mean of the three. RMSNorm, tanh and the L2 norm are the same in both.",
            table(["Function", "Range", "Whose", "Largest error", "Mean error", "Bytes", "Rounds"], functions),
            f"Sentence embeddings of {record['embeddings']['model']}, unpadded, by length: cosine with transformers\n"
            "in float32.",
            table(["Tokens", "Sentences", "Functions", "Lowest cosine", "Mean cosine"], sentences),
            f"Perplexity of the {language['model']} of `bench/tiny` on text that it was not trained on,\n"
            f"{language['windows']} windows, {language['tokens_predicted']:,} tokens predicted.",
            table(["Functions", "Perplexity", "Largest error of a logit"], perplexities),
        ]
    )
