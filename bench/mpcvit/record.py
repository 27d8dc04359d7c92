"""The record of a campaign: every part that is done, put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.latency.plans import predictor_record
from bench.latency.runs import Measured
from bench.mpcvit.campaign import SEARCHED, Campaign
from bench.mpcvit.plans import BASELINES, BUDGETS
from bench.mpcvit.seconds import PROTOCOLS, predicted
from secure.models.latency import NETWORKS
from secure.search.plan_costs import PlanCosts
from secure.search.space import AttentionPlan
from secure.search.teacher import read_teacher

DATA = "Fashion-MNIST, 55,000 images to train with, 10,000 to test, 28 x 28 pixels, grey"


def record(campaign: Campaign) -> dict[str, Any]:
    """What bench/results has of it. A plan is left out as long as no seed has trained it."""
    seeds = campaign.seeds
    names = {name: plan for name, plan in campaign.plans.items() if campaign.accuracies(name)}
    setting, (network, protocol) = asdict(campaign.setting), SEARCHED
    teacher = read_teacher(campaign.teacher(campaign.setting.seed))
    costs = {each: PlanCosts(teacher.raw, teacher.plan, NETWORKS["lan"], each, "private") for each in PROTOCOLS}
    return {
        "kind": "mpcvit",
        "data": DATA,
        "setting": setting,
        "seeds": seeds,
        "how": (
            "each seed has a teacher and students of its own; the plans are of the first seed's search. Predicted "
            "seconds, rounds and bytes are this commit's; measured ones have their own commit and load"
        ),
        "teachers": {str(seed): campaign.trained(seed) for seed in seeds},
        "search": {
            "network": network,
            "protocol": protocol,
            "budgets": BUDGETS,
            **(campaign.part("search.json") or {}),
            "front": [
                {
                    "plan": str(each.plan),
                    "seconds": each.seconds,
                    "relative_seconds": each.relative_seconds,
                    "divergence": each.divergence,
                }
                for each in campaign.front.candidates
            ],
        },
        "measured_when": {
            f"{protocol}-{network}": {
                **{key: value for key, value in found.items() if key != "plans"},
                "predictor": predictor(campaign, protocol, network),
            }
            for protocol, network, found in _measured(campaign)
        },
        "plans": [plan_record(campaign, costs, name, plan) for name, plan in names.items()],
    }


def plan_record(campaign: Campaign, costs: Mapping[str, PlanCosts], name: str, plan: AttentionPlan) -> dict[str, Any]:
    """One plan: accuracy by seed, agreement, prices and seconds. costs: by protocol."""
    accuracies = campaign.accuracies(name)
    found: dict[str, Any] = {
        "name": name,
        "about": BASELINES[name][2] if name in BASELINES else f"found by the search, for {name.split('-')[1]}",
        "plan": str(plan),
        **{key: value for key, value in plan.fields.items() if key != "model_type"},
        "accuracy": {str(seed): part["accuracy"] for seed, part in accuracies.items()},
        "processor_seconds": {str(seed): part["processor_seconds"] for seed, part in accuracies.items()},
        "predicted": {},
        "measured": {},
        "agreement": {},
    }
    for protocol, priced in costs.items():
        found["predicted"][protocol] = predicted(priced.exact(plan))
        agreed = campaign.part("agreement", f"{name}-{protocol}.json")
        if agreed is not None:
            found["agreement"][protocol] = agreed
    for protocol, network, measured in _measured(campaign):
        if name in measured["plans"]:
            found["measured"].setdefault(protocol, {})[network] = measured["plans"][name]
    return found


def predictor(campaign: Campaign, protocol: str, network: str) -> Mapping[str, Any] | None:
    """How well the plans' seconds on a network are told by what is fitted to others; None for fewer than enough."""
    part = campaign.part("measured", f"{protocol}-{network}.json")
    if part is None:
        return None
    teacher = read_teacher(campaign.teacher(campaign.setting.seed))
    costs = PlanCosts(teacher.raw, teacher.plan, NETWORKS[network], protocol, "private")
    plans = campaign.plans
    return predictor_record(
        [
            Measured(name, costs.exact(plans[name]), network, found["median_seconds"])
            for name, found in part["plans"].items()
        ],
        part.get("kernels"),
    )


def _measured(campaign: Campaign) -> list[tuple[str, str, dict[str, Any]]]:
    """Protocol, network and what was found, of all that was measured."""
    found = []
    for protocol in PROTOCOLS:
        for network in NETWORKS:
            part = campaign.part("measured", f"{protocol}-{network}.json")
            if part is not None:
                found.append((protocol, network, part))
    return found


def name_of(campaign: Campaign) -> str:
    """The record's name in bench/results."""
    return f"mpcvit-fashion-{campaign.setting.tokens}"


def first_checkpoints(campaign: Campaign) -> dict[str, Path]:
    """The first seed's students, by plan: whose seconds are measured, and whose answers are compared."""
    seed = campaign.setting.seed
    return {name: campaign.student(seed, name) for name in campaign.plans if seed in campaign.accuracies(name)}
