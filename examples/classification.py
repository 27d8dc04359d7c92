"""Private classification: the parties compute a classifier's logits and learn neither text, weights nor class.

    python examples/classification.py                   # a tiny random model
    python examples/classification.py path/to/checkpoint

The answer is compared with that of transformers in the clear, which a user would not do.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from tiny_models import save_classifier
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import secure

TEXTS = ["a fine film", "rain again"]


def main(checkpoint: str | None = None) -> float:
    """The largest difference between private logits and those in the clear."""
    with tempfile.TemporaryDirectory() as folder, secure.launch() as parties:
        path = Path(checkpoint) if checkpoint else save_classifier(Path(folder))
        inputs = AutoTokenizer.from_pretrained(path)(TEXTS, padding=True, return_tensors="pt")
        inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        model = secure.PrivateModel.from_pretrained(path, parties=parties)
        logits = model(**inputs).logits
        plain = AutoModelForSequenceClassification.from_pretrained(path).eval()
        with torch.inference_mode():
            expected = plain(**inputs).logits
    for text, row in zip(TEXTS, logits, strict=True):
        print(f"{text!r} is {model.id2label[int(row.argmax())]!r}, logits {[round(x, 3) for x in row.tolist()]}")
    difference = float((logits - expected).abs().max())
    print(f"largest difference from the clear: {difference:.1e}")
    return difference


if __name__ == "__main__":
    main(*sys.argv[1:2])
