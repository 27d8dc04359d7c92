"""Share arithmetic on one graphics card: bit-equality with the CPU, ring products, BERT with all roles on the card.

Unlike the rest of `bench`, this package imports nothing but the standard library, numpy, torch and our own `protocols`
and `models`: it has to run from whatever environment has PyTorch for the card. `bench/on_gpu.sh` runs it.
"""
