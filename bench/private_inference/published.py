"""Constants of networks: CryptoNite's artifact's, and ours, put together from what one gate and one network take.

The artifact's figures are those that its simulation takes: a ReLU garbled and evaluated on one of the server's 32
threads, or with all four of an Atom at the client; bytes of each ReLU; and seconds of homomorphic encryption, one layer
after another or in parallel on 17 threads. What its ciphertexts take of the link (1.46 GB in all for ResNet-18 at
TinyImageNet's shape, beside 41 GB of circuits) it leaves out, and so do we.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.private_inference.constants import Constants, Garbler, Phase, Work
from secure.protocols.core.errors import ConfigurationError

Record = Mapping[str, Any]
_SEED_BYTES = 16

ARTIFACT = "CryptoNite's artifact"
SERVER_THREADS, CLIENT_THREADS, HE_THREADS = 32, 4, 17
_SERVER_GARBLES, _SERVER_EVALUATES = 103.7e-6, 54.6e-6  # seconds of one thread, a ReLU
_CLIENT_GARBLES, _CLIENT_EVALUATES = 171.7e-6, 86.5e-6  # seconds of all four threads, a ReLU
_CIRCUIT, _TO_EVALUATOR, _TO_GARBLER, _LABELS = 17_072, 1_344, 672, 1_184  # bytes, a ReLU
_EVALUATOR_KEEPS, _GARBLER_KEEPS = 18_248, 3_590  # bytes, a ReLU


@dataclass(frozen=True)
class Convolution:
    """So many equal convolutions. Sizes: channels in and out, pixels of a side of the output, and of the kernel."""

    inner: int
    outer: int
    side: int
    kernel: int = 3
    count: int = 1

    @property
    def weights(self) -> int:
        """All their weights."""
        return self.count * self.inner * self.outer * self.kernel**2

    @property
    def products(self) -> int:
        """All their multiplications for one image."""
        return self.weights * self.side**2

    @property
    def ciphertexts(self) -> int:
        """What they take in and give, at a ciphertext for each channel of one image."""
        return self.count * (self.inner + self.outer)


@dataclass(frozen=True)
class Network:
    """relus: of one image. he_seconds: of the artifact, one layer after another and, in parallel, of 17 threads."""

    name: str
    relus: int
    convolutions: tuple[Convolution, ...]
    he_seconds: tuple[float, float] | None = None

    @property
    def weights(self) -> int:
        """The weights of all convolutions."""
        return sum(each.weights for each in self.convolutions)

    @property
    def products(self) -> int:
        """The multiplications of all convolutions."""
        return sum(each.products for each in self.convolutions)

    @property
    def ciphertexts(self) -> int:
        """What all convolutions take in and give."""
        return sum(each.ciphertexts for each in self.convolutions)


def resnet_of_cifar(n: int, he_seconds: tuple[float, float] | None = None) -> Network:
    """He and others' network of 6 n + 2 layers for 32 x 32 pixels."""
    stages, relus = [Convolution(3, 16, 32), Convolution(16, 16, 32, count=2 * n)], (1 + 2 * n) * 16 * 32**2
    for width, side in ((32, 16), (64, 8)):
        half = width // 2
        stages += [Convolution(half, width, side), Convolution(half, width, side, kernel=1)]
        stages.append(Convolution(width, width, side, count=2 * n - 1))
        relus += 2 * n * width * side**2
    return Network(f"ResNet-{6 * n + 2}, 32 × 32", relus, tuple(stages), he_seconds)


def _resnet18() -> Network:
    """For 64 x 64 pixels, with a stem of 3 x 3 and no pooling, as TinyImageNet has it."""
    stages, relus = [Convolution(3, 64, 64), Convolution(64, 64, 64, count=4)], 5 * 64 * 64**2
    for width, side in ((128, 32), (256, 16), (512, 8)):
        half = width // 2
        stages += [Convolution(half, width, side), Convolution(half, width, side, kernel=1)]
        stages.append(Convolution(width, width, side, count=3))
        relus += 4 * width * side**2
    return Network("ResNet-18, 64 × 64", relus, tuple(stages), (1066.2, 141.0))


RESNET20, RESNET32, RESNET18 = resnet_of_cifar(3), resnet_of_cifar(5, (39.1, 2.6)), _resnet18()


def cryptonite(
    network: Network, garbler: Garbler, *, parallel: bool = False, relus: float = 1.0, products: float = 1.0
) -> Constants:
    """The artifact's constants. parallel: layers' encryption at the same time. relus, products: what is left of them.

    Raises ValueError for a network of which it has none.
    """
    if network.he_seconds is None:
        raise ValueError(f"{ARTIFACT} has no figures of {network.name}")
    count, (sequential, in_parallel) = relus * network.relus, network.he_seconds
    he = Work("p1", products * sequential)
    if parallel:
        he = Work("p1", products * in_parallel * HE_THREADS, HE_THREADS)
    kept = {"p0": count * _EVALUATOR_KEEPS, "p1": count * _GARBLER_KEEPS}
    if garbler == "server":
        garbling = Work("p1", count * _SERVER_GARBLES, SERVER_THREADS)
        evaluating = Work("p0", count * _CLIENT_EVALUATES * CLIENT_THREADS, CLIENT_THREADS)
        offline = Phase((he, garbling), count * _TO_GARBLER, count * (_CIRCUIT + _TO_EVALUATOR))
        online = Phase((evaluating,), 0, count * _LABELS)
    else:
        garbling = Work("p0", count * _CLIENT_GARBLES * CLIENT_THREADS, CLIENT_THREADS)
        evaluating = Work("p1", count * _SERVER_EVALUATES, SERVER_THREADS)
        offline = Phase((he, garbling), count * _CIRCUIT, 0)
        online = Phase((evaluating,), count * _TO_EVALUATOR, count * _TO_GARBLER)
        kept = {"p0": kept["p1"], "p1": kept["p0"]}
    name = f"CryptoNite, {garbler} garbles{', layers in parallel' if parallel else ''}"
    return Constants(name, ARTIFACT, "published", offline, online, kept)


@dataclass(frozen=True)
class Taken:
    """What something takes of p0 and of p1, in processor seconds, and what each sends the other, in bytes."""

    seconds: tuple[float, float]
    sent: tuple[float, float]

    @classmethod
    def of(cls, record: Record, phase: str) -> Taken:
        """A phase, "made" or "used", of a record of kind "hybrid"."""
        (p0, p1), (up, down) = record[phase]["median_seconds"], record[phase]["sent_bytes"]
        return cls((p0, p1), (up, down))

    def plus(self, factor: float, other: Taken) -> Taken:
        """This and so many of the other."""
        (p0, p1), (up, down) = self.seconds, self.sent
        (other0, other1), (other_up, other_down) = other.seconds, other.sent
        return Taken((p0 + factor * other0, p1 + factor * other1), (up + factor * other_up, down + factor * other_down))


def ours(
    network: Network,
    records: Sequence[Record],
    garbler: Garbler,
    *,
    relus: float = 1.0,
    products: float = 1.0,
) -> Constants:
    """Our constants: so many ReLUs, and convolutions by what ResNet-20 takes beside its ReLUs.

    records: of kind "hybrid": ReLUs with either garbler, and ResNet-20. p0's seconds and all bytes of convolutions go
    by ciphertexts, p1's seconds by weights: with one image each ciphertext is one channel, however few its pixels, so
    that p1 multiplies each weight by a whole one; with an input, p1's seconds go by products. Fewer products are fewer
    weights.
    """
    relu, whole = _find(records, "relu", garbler), _find(records, "resnet20", "client")
    gate, phases = _find(records, "relu", "client"), {}
    for phase in ("made", "used"):
        beside = Taken.of(whole, phase).plus(-RESNET20.relus / gate["relus"], Taken.of(gate, phase))
        by_ciphertext = network.ciphertexts / RESNET20.ciphertexts
        by_weight = products * network.weights / RESNET20.weights
        if phase == "used":  # in the clear, where only a channel's own pixels are multiplied
            by_weight = products * network.products / RESNET20.products
        p0, p1 = (max(0.0, each) for each in beside.seconds)
        up, down = (max(0.0, each) * by_ciphertext for each in beside.sent)
        linear = Taken((p0 * by_ciphertext, p1 * by_weight), (up, down))
        all_of_it = linear.plus(relus * network.relus / relu["relus"], Taken.of(relu, phase))
        phases[phase] = Phase(
            (Work("p0", all_of_it.seconds[0]), Work("p1", all_of_it.seconds[1])),
            *all_of_it.sent,
            rounds=whole[phase]["rounds"],
        )
    each = [relus * network.relus / relu["relus"] * kept for kept in relu["kept_bytes"]]
    return Constants(
        f"hybrid, {garbler} garbles",
        "; ".join(f"`{record['command']}`" for record in (relu, whole)),
        "estimated",
        phases["made"],
        phases["used"],
        dict(zip(("p0", "p1"), each, strict=True)),
    )


def dealt_ahead(record: Record, costs: Mapping[str, int]) -> Constants:
    """What a dealer deals ahead for beaver, and an answer from it, from a record of kind "ahead".

    costs: of the model in bench/baseline.json, for the bytes and rounds that the record leaves out; each party sends
    half of them. The parties' own work ahead is a part of a making.
    """
    own = {role: sum(seconds) / len(seconds) for role, seconds in record["own_work_seconds"].items() if seconds}
    dealer = Work("dealer", record["deal_seconds"])
    offline = Phase((dealer, *(Work(role, seconds) for role, seconds in own.items())), dealt_bytes=record["deal_bytes"])
    online = Phase(
        tuple(Work(role, seconds) for role, seconds in record["processor_seconds"]["stock"].items()),
        costs["online_bytes"] / 2,
        costs["online_bytes"] / 2,
        rounds=costs["rounds"],
        elapsed=record["median_seconds"]["stock"],
    )
    setting = record["setting"]
    name = f"beaver, {setting['weights']} weights: {setting['model']}, {setting['batch']} × {setting['tokens']} tokens"
    kept = {"p0": float(_SEED_BYTES), "p1": float(record["deal_bytes"])}
    return Constants(name, f"`{record['command']}`", "measured", offline, online, kept)


def _find(records: Sequence[Record], what: str, garbler: Garbler) -> Record:
    """Raises ConfigurationError where there is no such record."""
    for record in records:
        if record.get("kind") == "hybrid" and (record["what"], record["garbler"]) == (what, garbler):
            return record
    command = f"python -m bench hybrid {what} --garbler {garbler}"
    raise ConfigurationError(f"bench/results has no such record; measure it first: {command}")
