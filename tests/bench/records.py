"""Records as measurements write them, with figures that are easy to find again."""

from __future__ import annotations

from typing import Any

from bench import baseline
from tests.bench.inference_records import constants_record, load_record, simulated_record
from tests.bench.new_record import new_record

Record = dict[str, Any]
PEAKS = {"p0": 1_000_000_000, "p1": 2_340_000_000, "dealer": 500_000_000}
OPS = {
    "open": {"rounds": 10, "online_bytes": 7_000_000, "dealer_bytes": 0, "p1": 0.25, "dealer": 0.125},
    "product": {"rounds": 2, "online_bytes": 3_000_000, "dealer_bytes": 5_000_000, "p1": 0.5, "dealer": 0.25},
}
PHASES = {
    "median_offline_seconds": 0.55,
    "median_online_seconds": 0.66,
    "layer_seconds": {"layer.0": 0.123},
}


def model_record(network: str = "loopback", kind: str = "model", **fields: Any) -> Record:
    label: Record = {"name": network}
    if network != "loopback":
        label |= {"bits_per_second": 2e8, "bandwidth": "by a tap", "delay_seconds_one_way": 0.02, "delay": "by waiting"}
    setting = {"model": "minilm", "tokens": 16, "batch": 3, "weights": "private", "layers": None, "repeats": 2}
    return new_record(
        kind,
        **{
            "setting": setting,
            "network": label,
            "seconds": [1.0, 1.5],
            "median_seconds": 1.25,
            "load_seconds": 2.5,
            "rounds": 1234,
            "online_bytes": 10_000_000,
            "dealer_bytes": 5_000_000,
            "peak_memory_bytes": PEAKS,
            "max_error": 0.00067,
            "ops": OPS,
            "layer_seconds": {"layer.0": 0.456},
            "phases": PHASES,
        }
        | fields,
    )


PROMPT = baseline.read()["costs"]["gpt2 private 1x32"]
"""What the prompt costs today, so that a record is not outdated."""


def generation_record(**fields: Any) -> Record:
    setting = {"model": "gpt2", "tokens": 32, "generate": 8, "batch": 1, "weights": "private", "reveal": "logits"}
    return new_record(
        "generation",
        **{
            "setting": setting | {"layers": None},
            "prompt_seconds": 2.5,
            **{f"prompt_{name}": PROMPT[name] for name in ("rounds", "online_bytes", "dealer_bytes")},
            "token_seconds": 0.75,
            "token_rounds": 612.0,
            "token_online_bytes": 20_000_000.0,
            "token_dealer_bytes": 15_000_000.0,
            "token_embedding": {"online_bytes": 500_000.0, "dealer_bytes": 0.0, "rounds": 2.0},
            "tokens_equal": 1.0,
            "max_error": 0.0021,
            "peak_memory_bytes": PEAKS,
        }
        | fields,
    )


def scale_record() -> Record:
    points = [
        {
            "value": value,
            "median_seconds": 0.5 * value,
            "plaintext_seconds": 0.001 * value,
            "rounds": 100,
            "online_bytes": 1_000_000 * value**2,
            "dealer_bytes": 1_000_000 * value,
            "peak_memory_bytes": PEAKS,
        }
        for value in (16, 32, 64)
    ]
    setting = {"model": "minilm", "tokens": 16, "batch": 1, "weights": "private", "layers": None}
    return new_record("scale", dimension="tokens", setting=setting, points=points, plaintext="on the same machine")


def gates_record() -> Record:
    row = {
        "gate": "Open 64",
        "elements": 1024,
        "microseconds": 0.7654,
        "dealer_microseconds": 0.1,
        "rounds": 1,
        "online_bytes": 16.0,
        "dealer_bytes": 0.0,
    }
    return new_record("gates", includes="waiting", gates=[row])


def peers_record() -> Record:
    others = {
        "includes": "what it does",
        "excludes": "what it does not",
        "seconds": [6.4, 6.5, 6.6],
        "median_seconds": 6.5,
        "bytes_sent_per_party": 200_000_000,
        "max_error": 0.013,
        "peak_memory_bytes": {"party 0": 3_000_000_000},
    }
    ours = others | {"median_seconds": 0.65, "dealer_bytes": 90_000_000, "rounds": 88}
    failed = {"includes": "nothing", "excludes": "nothing", "error": "could not be\ninstalled | offline"}
    return new_record(
        "peers",
        setting={"model": "bert-base", "layers": 1, "tokens": 128, "batch": 1, "repeats": 3},
        systems={"ours": ours, "spu-memory": others, "crypten": failed},
        ratios={"spu-memory": 10.0},
    )


def gpu_record() -> Record:
    figures = {"bit-equal": True, "ring product": {"milliseconds": 1.23456, "size": 4096}}
    return new_record("gpu", device="Example GPU", figures=figures)


def numerics_record() -> Record:
    function = {"name": "gelu", "range": "-8 to 8", "functions": "puma", "max_error": 0.02, "mean_error": 0.0018}
    sentence = {"functions": "ours", "tokens": [1, 16], "sentences": 9}
    language = {"functions": "float", "perplexity": 12.3456, "largest_logit_error": 0.0}
    return new_record(
        "numerics",
        includes="threads",
        excludes="seconds",
        functions=[function | {"bytes_per_party": 144.54, "rounds": 21}],
        embeddings={"model": "MiniLM", "rows": [sentence | {"lowest_cosine": 0.999999, "mean_cosine": 0.9999995}]},
        perplexity={"model": "tiny LLaMA", "windows": 16, "tokens_predicted": 2032, "rows": [language]},
    )


def accuracy_record() -> Record:
    row = {"right": 409, "agree": 499, "largest_difference": 0.0021, "mean_difference": 0.00041}
    return new_record(
        "accuracy",
        model="MiniLM",
        data={"source": "descriptions", "train": 6000, "examples": 500},
        includes="processes",
        right_in_the_clear=410,
        rows=[{"protocol": name, "seconds": 61.5} | row for name in ("beaver", "replicated")],
    )


def link_record() -> Record:
    both = {"p0": 112.4, "p1": 108.6}
    row = {"message_bytes": 4096, "microseconds": 221.7, "least": 201.2, "cpu_microseconds": both}
    return new_record(
        "link",
        setting={"repeats": 5},
        includes="both parties",
        excludes="the dealer",
        network={"name": "loopback"},
        load=1.25,
        sizes=[row | {"thread_microseconds": {"p0": 41.0, "p1": 39.0}}],
    )


def verifier_record() -> Record:
    share = {"mean": 0.25, "least": 0.2, "most": 0.3}
    pairs = ("weights", "microseconds")
    numbers = {
        f"{whose}_{what}": {"mean": 1234.4, "least": 1, "most": 2}
        for whose in ("service", "verifier")
        for what in pairs
    }
    return new_record(
        "verifier",
        source="Example digits",
        seeds=5,
        inputs={"service": 500, "verifier": 1900, "test": 397},
        figures=numbers | dict.fromkeys(("service_accuracy", "agreement", "false_alarms"), share),
        attacks=[
            {
                "name": "knows it",
                "changed": share,
                "found": share,
                "unseen": share,
                "reclassified": share,
                "differs": share,
            },
            {
                "name": "eight bits",
                "changed": share,
                "found": share,
                "unseen": share,
                "reclassified": None,
                "differs": share,
            },
        ],
    )


def audit_record() -> Record:
    honest = {"honest": 10_000, "false_alarms": 0, "largest": 8.3e-7, "median": 4e-7}
    return new_record(
        "audit",
        model="minilm",
        noise_texts=24,
        largest_noise=6.5e-7,
        threshold=6.5e-6,
        canaries=100,
        computed=honest | {"honest": 500},
        drawn=honest,
        rows=[{"name": "four bits", "least": 0.25, "median": 0.5, "found": 1.0}],
    )


def card_record() -> Record:
    return model_record(card={"name": "Example GPU"}, median_seconds=0.5, median_cpu_seconds=1.25)


def hybrid_record() -> Record:
    made = {"median_seconds": [0.125, 0.25], "sent_bytes": [3_500_000, 1_250_000], "rounds": 9}
    used = {"median_seconds": [0.0625, 0.375], "sent_bytes": [1_750_000, 125_000], "rounds": 5}
    sizes = {"relus": 4096, "kept_bytes": [80, 4_375_000]}
    return new_record(
        "hybrid", what="relu", garbler="client", turns=3, load_average=1.25, made=made, used=used, **sizes
    )


def ahead_record() -> Record:
    return new_record(
        "ahead",
        setting={"model": "minilm", "tokens": 16, "batch": 1, "weights": "private", "layers": None},
        deal_seconds=0.375,
        deal_bytes=23_500_000,
        median_seconds={"live": 0.75, "stock": 0.5},
        stock_of_live=2 / 3,
        processor_seconds={"live": {"p0": 0.375, "dealer": 0.25}, "stock": {"p0": 0.125, "p1": 0.25}},
        median_spend_seconds={"p0": 0.0025, "p1": 0.00375},
    )


def restart_record() -> Record:
    medians = {"reading": 1.25, "serving": 3.25, "answered": 4.75, "answered_processor": 5.25}
    return new_record(
        "restart",
        setting={"model": "minilm", "tokens": 16, "batch": 1, "weights": "private", "layers": None},
        load_average=2.5,
        sealed_bytes={"p0": 1_500_000_000, "p1": 1_500_000_000},
        warm_seconds=1.5,
        median_seconds={f"{name}_seconds": value for name, value in medians.items()},
    )


def kills_record() -> Record:
    kills = {
        "p0, a random instant of a deal": 3,
        "p0, before sending": 2,
        "p0, after sending": 1,
        "p1, after meeting": 4,
    }
    counts = {"answers": 47, "wrong": 0, "lost": 299, "dealt": 1337, "sent": 208, "used_twice": 0, "unpaired": 0}
    return new_record("kills", kills=kills, kills_total=10, most_lost=1, **counts)


def every_record() -> list[Record]:
    return [
        model_record(),
        card_record(),
        model_record("wan", median_seconds=9.75),
        model_record(kind="layer", layer="layer.0"),
        generation_record(),
        scale_record(),
        gates_record(),
        peers_record(),
        gpu_record(),
        numerics_record(),
        accuracy_record(),
        link_record(),
        verifier_record(),
        audit_record(),
        hybrid_record(),
        constants_record(),
        load_record(),
        simulated_record(),
        ahead_record(),
        restart_record(),
        kills_record(),
    ]
