"""A tiny LLaMA with its tokenizer, trained on text that the repository ships: a real model, in minutes on a CPU."""
