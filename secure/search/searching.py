"""A search: the network of all plans is trained once, and then plans are read off for any network and protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from secure.models.contract.manifest import WeightVisibility
from secure.models.latency import PartyNetwork, find_network
from secure.models.price import Phase
from secure.protocols.families import DEFAULT
from secure.search.data import read_data
from secure.search.examples import Augment
from secure.search.exploring import explore
from secure.search.front import Candidate, Front
from secure.search.plan_costs import PlanCosts
from secure.search.plot import draw
from secure.search.space import AttentionPlan
from secure.search.supernet import Answers, train
from secure.search.teacher import read_teacher
from secure.search.training import Say, Schedule

EPOCHS = 5
CHILDREN = 200


def search(
    checkpoint: Path | str,
    data: Any,
    *,
    out: Path | str,
    network: PartyNetwork | str = "lan",
    protocol: str = DEFAULT.name,
    weights: WeightVisibility = "private",
    phase: Phase = "all",
    epochs: int = EPOCHS,
    children: int = CHILDREN,
    batch: int = 128,
    seed: int = 0,
    augment: Augment | None = None,
    say: Say = print,
) -> Front:
    """Plans of a trained classifier, from the dearest to the cheapest, none of which another one beats.

    The first call trains, and writes supernet.safetensors after each epoch; it can be stopped and called again. A later
    one for another network, protocol or kind of weights trains nothing. Each writes pareto.json and pareto.svg.

    Args:
        checkpoint: a folder of ViT's class ViTForImageClassification, or BERT's BertForSequenceClassification.
        data: (inputs, labels) as arrays or tensors: float [N, channels, height, width] as the model takes them, or ids
            and masks, whole [N, 2, tokens]; and whole [N]. Or a data set of such pairs, or the path of an .npz file
            with both, of a folder as `secure.search.pictures` reads it, or of a .jsonl file as `secure.search.texts`
            does. A tenth is held out. A plan's seconds are those of one input, of a text as long as the longest one.
        out: the folder for all files.
        network, protocol, weights, phase: as for `secure.costs.cost`: what a plan's seconds are predicted for.
        epochs: of training. children: plans that are tried after the greedy path. batch: inputs trained with at a time.
        seed: all chance follows from it, on one machine with one number of threads.
        augment: makes of a batch of inputs what is trained with, by chance from a generator alone.

    Raises CheckpointError for a model that is no such classifier and for files in `out` of another search; InputError
    for other inputs or labels than the model's; ConfigurationError for an unknown network.
    """
    links, folder = network if isinstance(network, PartyNetwork) else find_network(network), Path(out)
    teacher = read_teacher(Path(checkpoint))
    examples = read_data(data, teacher)
    teacher.check(examples)
    first = teacher.plan
    costs = PlanCosts(teacher.raw, first, links, protocol, weights, phase=phase, tokens=teacher.tokens(examples))
    folder.mkdir(parents=True, exist_ok=True)
    trained, held_out = examples.held_out(seed)
    model, due = teacher.model(), teacher.model()
    say(f"{len(trained)} examples to train with, {len(held_out)} to compare plans on")
    train(model, due, teacher.config, trained, Schedule(epochs, batch, seed=seed), folder, say, augment)
    tried = Answers(model, due, teacher.config, held_out, folder)
    say(f"trying plans for {links.name}, {protocol}, {weights} weights")
    plans = explore(first, costs.seconds, tried.divergence, children=children, seed=seed)
    tried.keep()
    front = Front(
        [_candidate(plan, costs, tried) for plan in plans],
        {
            "network": links.name,
            "protocol": protocol,
            "weights": weights,
            "phase": phase,
            "seed": seed,
            "epochs": epochs,
            "children": children,
            "held_out": len(held_out),
        },
    )
    front.write(folder)
    draw(front, folder)
    return front


def _candidate(plan: AttentionPlan, costs: PlanCosts, tried: Answers) -> Candidate:
    total = costs.exact(plan).total
    return Candidate(
        plan,
        costs.exact_seconds(plan),
        costs.relative(plan),
        total.rounds,
        total.online_bytes,
        total.dealer_bytes,
        tried.divergence(plan),
        tried.accuracy(plan),
    )
