"""A tiny LLaMA with a tiny tokenizer, and the same model encrypted: what the serving tests serve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from secure.ee.files.checkpoint import OpenedCheckpoint, open_checkpoint
from secure.ee.owner.encrypt import encrypt_checkpoint
from secure.protocols.equivariant.factors.vocabulary import Vocabulary
from secure.protocols.equivariant.key import Key

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<s>", "</s>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
WORDS = ["the", "cat", "sat", "on", "mat", "ünï", "日本", " the", " cat", " and"]
POSITIONS = 256


@dataclass(frozen=True)
class Tiny:
    """Folders of the plain and of the encrypted model, the plain model, and what turns ids of one into the other's."""

    plain: Path
    encrypted: Path
    model: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerFast
    key: Key
    checkpoint: OpenedCheckpoint
    vocabulary: Vocabulary

    def greedy(self, ids: list[int], count: int) -> list[int]:
        """What plain transformers generates after plain ids."""
        prompt = torch.tensor([ids])
        output = self.model.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=count, pad_token_id=0
        )
        return [int(token) for token in output[0, len(ids) :]]


def make_tiny(folder: Path, key: Key) -> Tiny:
    """Build all of it below `folder`."""
    tokenizer = make_tokenizer()
    torch.manual_seed(7)
    config = LlamaConfig(
        # More rows than the tokenizer has words, as checkpoints often do.
        vocab_size=len(tokenizer) + 10,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=POSITIONS,
        # Large weights: sharp logits, so that greedy decoding wanders instead of repeating one token.
        initializer_range=0.4,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config).eval()
    plain = folder / "plain"
    model.save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    encrypted = folder / "encrypted"
    encrypt_checkpoint(plain, key, encrypted, assume="T0")
    checkpoint = open_checkpoint(encrypted, key)
    assert checkpoint.vocabulary is not None
    return Tiny(plain, encrypted, model, tokenizer, key, checkpoint, checkpoint.vocabulary)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level, so that any text is possible and one character can take several tokens; a few whole words."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *alphabet])}
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        pieces = [piece for piece, _ in pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(word)]
        token = ""
        for character in "".join(pieces):
            if token and (token, character) not in merges:
                merges.append((token, character))
            token += character
            vocabulary.setdefault(token, len(vocabulary))
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r" ?\S+|\s+"), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=SPECIAL[2:],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer
