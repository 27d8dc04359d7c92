"""Affine norms that begin where layer norms are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from transformers import ViTForImageClassification

from secure.clear_model import apply_plan, norms_by_layer
from secure.search.norms import absorb_scales, calibrate
from secure.search.space import AttentionPlan
from secure.search.teacher import read_teacher
from tests.secure.search.digits import digits


def test_scales_make_rows_of_one_and_are_absorbed_without_a_change(teacher: Path) -> None:
    found = read_teacher(teacher)
    model, images = found.model(), digits()[0][:50]
    calibrate(model, images)
    norms = tuple(("affine", "affine") for _ in found.plan.kinds)
    apply_plan(model, replace(found.plan, norms=norms).apply_to(found.config))
    first, _ = norms_by_layer(model)[0]
    with torch.inference_mode():
        scaled = (first(model.vit.embeddings(images)) - first.bias) / first.weight
        due = model(pixel_values=images).logits
    assert 0.9 < float(scaled.square().mean()) < 1.1
    absorb_scales(model)
    with torch.inference_mode():
        torch.testing.assert_close(model(pixel_values=images).logits, due, rtol=1e-4, atol=1e-4)
    assert model.state_dict().keys() == ViTForImageClassification(model.config).state_dict().keys()


def test_a_norm_that_is_affine_already_keeps_its_gain(teacher: Path) -> None:
    found = read_teacher(teacher)
    model = found.model()
    plan = AttentionPlan(found.plan.kinds, found.plan.activations, (("affine", "layer"),) * len(found.plan.kinds))
    apply_plan(model, plan.apply_to(found.config))
    calibrate(model, digits()[0][:20])
    for affine, other in norms_by_layer(model):
        assert affine.scale == 1 != other.scale
