"""Whole models with our functions and with PUMA's: sentence embeddings of MiniLM, perplexity of the tiny LLaMA.

The approximations are those of the protocol itself: the cleartext reference has exact functions in place of ours.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, normalize
from transformers import AutoTokenizer, BertModel, LlamaForCausalLM

from bench.numerics import parties
from bench.tiny import corpus
from bench.tiny.train import Recipe, encoded
from secure.demo.sample import DOCUMENTS, QUERY
from secure.models.checkpoint.conversion import read_checkpoint, read_share, write_split
from secure.models.contract.exchange import input_payloads, step_outputs
from secure.models.contract.request import Output
from secure.models.program import load, network, serve
from secure.protocols.core.errors import ConfigurationError
from secure.protocols.core.fixedpoint import FixedPointPolicy
from secure.protocols.replicated.protocol import ReplicatedParty
from tests.in_process import GivenSteps

Say = Callable[[str], None]
POLICIES = {"ours": FixedPointPolicy(), "puma": FixedPointPolicy(functions="puma")}
WEIGHTS = "public"
LENGTHS = ((1, 16), (17, 32), (33, 64), (65, 128))
"""Bands of tokens in a sentence."""


def embeddings(folder: Path, sentences: int, say: Say) -> dict[str, Any]:
    """Cosine of each sentence's embedding with that of transformers in float32, by band of lengths.

    sentences: in each band, of the demo's and then of the repository's prose. Each is alone in its input, unpadded.
    """
    model = BertModel.from_pretrained(folder, dtype=torch.float32).eval()
    ids = _sentences(AutoTokenizer.from_pretrained(folder), sentences)
    with torch.inference_mode():
        due = [normalize(model(input_ids=one).last_hidden_state.mean(1)) for one in ids]
    rows = []
    for whose, policy in POLICIES.items():
        found = list(_predictions(folder, policy, "embedding", ids))
        cosines = [float(cosine_similarity(a.double(), b.double())) for a, b in zip(found, due, strict=True)]
        for low, high in (*LENGTHS, (LENGTHS[0][0], LENGTHS[-1][1])):
            kept = [cosine for one, cosine in zip(ids, cosines, strict=True) if low <= one.shape[1] <= high]
            row = {
                "functions": whose,
                "tokens": [low, high],
                "sentences": len(kept),
                "lowest_cosine": min(kept),
                "mean_cosine": sum(kept) / len(kept),
            }
            rows.append(row)
            say(f"MiniLM, {low} to {high} tokens, {whose}: cosine {min(kept):.7f} at least, {row['mean_cosine']:.7f}")
    return {"model": "all-MiniLM-L6-v2", "weights": WEIGHTS, "rows": rows}


def perplexity(folder: Path, windows: int, say: Say) -> dict[str, Any]:
    """Of text that the tiny LLaMA was not trained on, in windows as long as those of its training."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = _windows(encoded(AutoTokenizer.from_pretrained(folder), "traffic", Recipe().characters), windows)
    with torch.inference_mode():
        logits = {"float": [model(input_ids=one).logits for one in ids]}
    for whose, policy in POLICIES.items():
        logits[whose] = list(_predictions(folder, policy, "logits", ids))
    rows = []
    for whose, found in logits.items():
        losses = torch.cat([_losses(one, given) for one, given in zip(found, ids, strict=True)])
        largest = max(float((a - b).abs().max()) for a, b in zip(found, logits["float"], strict=True))
        rows.append({"functions": whose, "perplexity": float(losses.mean().exp()), "largest_logit_error": largest})
        say(f"tiny LLaMA, {whose}: perplexity {rows[-1]['perplexity']:.4f}, largest error of a logit {largest:.1e}")
    predicted = sum(one.shape[1] - 1 for one in ids)
    return {"model": "tiny LLaMA", "weights": WEIGHTS, "windows": len(ids), "tokens_predicted": predicted, "rows": rows}


def _predictions(folder: Path, policy: FixedPointPolicy, output: Output, ids: Sequence[Tensor]) -> Iterator[Tensor]:
    """The output for each input of a checkpoint that three parties hold, one session each."""
    checkpoint = read_checkpoint(folder, weights=WEIGHTS, policy=policy, head=output == "logits")
    with tempfile.TemporaryDirectory() as name:
        split = Path(name)
        manifest = write_split(checkpoint, split, protocol="replicated")
        net = network(manifest)
        shares = [read_share(split / f"p{i}.safetensors", manifest, f"p{i}") for i in range(3)]
        for one in ids:
            request = net.request(output, {"input_ids": one})
            payloads = input_payloads(net, request, {"input_ids": one}, checkpoint.embeddings)

            def program(protocol: ReplicatedParty, request: Any = request, payloads: Any = payloads) -> bytes:
                client = GivenSteps(payloads[protocol.index])
                model = load(protocol, manifest, shares[protocol.index])
                serve(protocol, model, request, client, protocol.index)
                return client.outputs[0]

            answers, _ = parties.run(program, policy)
            (result,) = step_outputs(net, request, tuple(answers)).values()
            yield result


def _sentences(tokenizer: Any, count: int) -> list[Tensor]:
    """`count` sentences of every band, as ids [1, T]. Raises ConfigurationError where there are not so many."""
    texts = dict.fromkeys((QUERY, *DOCUMENTS, *corpus.PROSE.read_text(encoding="utf-8").splitlines()))
    ids = [tokenizer(text, return_tensors="pt").input_ids for text in texts]
    chosen = []
    for low, high in LENGTHS:
        fitting = [one for one in ids if low <= one.shape[1] <= high]
        if len(fitting) < count:
            raise ConfigurationError(f"the text has {len(fitting)} sentences of {low} to {high} tokens, not {count}")
        chosen += fitting[:count]
    return chosen


def _windows(sessions: Sequence[list[int]], count: int) -> list[Tensor]:
    """The first windows of the sessions one behind the other, as ids [1, T]. Raises ConfigurationError."""
    stream, length = torch.tensor([id for one in sessions for id in one]), Recipe().window
    if len(stream) < count * length:
        raise ConfigurationError(f"the text has {len(stream) // length} windows of {length} tokens, not {count}")
    return list(stream[: count * length].reshape(count, 1, length))


def _losses(logits: Tensor, ids: Tensor) -> Tensor:
    """-log of the probability of every token but the first. Shapes: [1, T, V], [1, T] -> [T - 1]."""
    return cross_entropy(logits[0, :-1].double(), ids[0, 1:], reduction="none")
