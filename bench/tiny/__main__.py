"""python -m bench.tiny: train the tiny models that are not there yet, and print their folders."""

from bench.tiny.train import Variant, checkpoint

if __name__ == "__main__":
    variants: tuple[Variant, ...] = ("base", "related", "finetuned")
    for variant in variants:
        print(checkpoint(variant))
