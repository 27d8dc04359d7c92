"""An encrypted checkpoint: one server runs it at full speed on encrypted ids, and the key stays with the client.

    python examples/encrypted_checkpoint.py                   # a tiny random LLaMA: its text means nothing
    python examples/encrypted_checkpoint.py path/to/checkpoint

This hides much less than the three parties do: SECURITY.md says how little. Here the model runs in this process, as if
the folder `encrypted` were at a server; `secure ee serve` and `server="host:port"` put it on another machine, and
`secure ee proxy` lets programs that speak OpenAI's API use it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from tiny_models import save_language_model
from transformers import AutoModelForCausalLM, AutoTokenizer

import secure
from secure.ee.owner.encrypt import encrypt_checkpoint
from secure.protocols.equivariant.key import Key

PROMPT = "once upon a time"


def main(checkpoint: str | None = None) -> tuple[str, str]:
    """The prompt and what follows it: by the encrypted model and in the clear. The two are the same."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = Path(checkpoint) if checkpoint else save_language_model(folder / "plain", "llama")
        key = Key.generate()  # `secure ee keygen` writes one to a file, under a passphrase
        encrypt_checkpoint(path, key, folder / "encrypted")
        with secure.EncryptedModel.from_pretrained(folder / "encrypted", key=key) as model:
            print(model.claim.notice)
            encrypted = model.generate(PROMPT, max_new_tokens=8, do_sample=False)
        tokenizer = AutoTokenizer.from_pretrained(path)
        ids = tokenizer(PROMPT, return_tensors="pt").input_ids
        plain = AutoModelForCausalLM.from_pretrained(path).eval()
        with torch.inference_mode():
            expected = plain.generate(ids, max_new_tokens=8, do_sample=False)
    print(encrypted)
    return encrypted, str(tokenizer.decode(expected[0]))


if __name__ == "__main__":
    main(*sys.argv[1:2])
