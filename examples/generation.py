"""Private generation: a language model continues a text that the parties never see.

    python examples/generation.py                   # a tiny random GPT-2: its text means nothing
    python examples/generation.py path/to/checkpoint

The client gets the logits of each next token and chooses. With reveal="token" the parties find the likeliest one inside
the protocol, and the client learns nothing else of the logits.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tiny_models import save_language_model

import secure

PROMPT = "Once upon a time"


def main(checkpoint: str | None = None) -> tuple[str, str]:
    """The prompt and what follows it, chosen by the client and inside the protocol: the two are the same."""
    with tempfile.TemporaryDirectory() as folder, secure.launch() as parties:
        path = Path(checkpoint) if checkpoint else save_language_model(Path(folder))
        model = secure.PrivateModel.from_pretrained(path, parties=parties)
        for piece in model.stream(PROMPT, max_new_tokens=8, do_sample=False):  # each as soon as it is there
            print(piece, end="", flush=True)
        print()
        at_client = model.generate(PROMPT, max_new_tokens=8, do_sample=False)
        print(model.report)
        inside = model.generate(PROMPT, max_new_tokens=8, do_sample=False, reveal="token")
    return at_client, inside


if __name__ == "__main__":
    main(*sys.argv[1:2])
