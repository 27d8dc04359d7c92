"""The ATen operators that a module may consist of, after torch.export took it apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from secure.models.graph import lowering as plain
from secure.models.graph import lowering_attention as heads
from secure.models.graph import lowering_images as images
from secure.models.graph import lowering_pooling as pooling
from secure.models.graph import lowering_resizing as resizing
from secure.models.graph import lowering_views as views

_aten = torch.ops.aten

KEPT = (
    _aten._upsample_nearest_exact1d.vec,
    _aten._upsample_nearest_exact2d.vec,
    _aten.adaptive_avg_pool2d.default,
    _aten.elu.default,
    _aten.hardsigmoid.default,
    _aten.hardswish.default,
    _aten.layer_norm.default,
    _aten.leaky_relu.default,
    _aten.linear.default,
    _aten.log_softmax.int,
    _aten.matmul.default,
    _aten.max_pool2d.default,
    _aten.prelu.default,
    _aten.rms_norm.default,
    _aten.scaled_dot_product_attention.default,
    _aten.silu.default,
    _aten.softmax.int,
    _aten.softplus.default,
    _aten.upsample_bicubic2d.vec,
    _aten.upsample_bilinear2d.vec,
    _aten.upsample_linear1d.vec,
    _aten.upsample_nearest1d.vec,
    _aten.upsample_nearest2d.vec,
)
"""What torch.export would take apart, and we compute as one."""

MASKS = frozenset({_aten.add.Tensor, _aten.sub.Tensor, _aten.where.self})
"""Operators that may bring minus infinity into scores."""
SOFTMAXES = frozenset({_aten.softmax.int, _aten._softmax.default})
BATCH_NORM = _aten._native_batch_norm_legit_no_training.default

THROUGH = MASKS | {
    _aten.clone.default,
    _aten.alias.default,
    _aten.view.default,
    _aten.reshape.default,
    _aten._unsafe_view.default,
    _aten.unsqueeze.default,
    _aten.squeeze.dims,
    _aten.expand.default,
}
"""Operators that hand scores on to a softmax."""

OPERATORS: Mapping[Any, Callable[..., Any]] = {
    _aten._adaptive_avg_pool2d.default: pooling.adaptive_average_pool,
    _aten._log_softmax.default: heads.log_softmax,
    _aten._softmax.default: heads.softmax,
    _aten._to_copy.default: views.to_copy,
    _aten._unsafe_view.default: plain.reshape,
    _aten._upsample_nearest_exact1d.vec: resizing.resize(_aten._upsample_nearest_exact1d.vec),
    _aten._upsample_nearest_exact2d.vec: resizing.resize(_aten._upsample_nearest_exact2d.vec),
    _aten.abs.default: plain.absolute,
    _aten.adaptive_avg_pool2d.default: pooling.adaptive_average_pool,
    _aten.adaptive_max_pool2d.default: pooling.adaptive_max_pool,
    _aten.add.Scalar: plain.add,
    _aten.add.Tensor: plain.add,
    _aten.addmm.default: plain.add_product,
    _aten.alias.default: views.same,
    _aten.amax.default: views.largest,
    _aten.avg_pool2d.default: pooling.average_pool,
    _aten.baddbmm.default: plain.add_product,
    _aten.bmm.default: plain.matmul,
    _aten.cat.default: views.concatenate,
    _aten.clamp.default: plain.clamp,
    _aten.clone.default: views.same,
    _aten.constant_pad_nd.default: views.pad,
    _aten.convolution.default: images.convolution,
    _aten.detach.default: views.same,
    _aten.div.Scalar: plain.divide,
    _aten.div.Tensor: plain.divide,
    _aten.elu.default: plain.elu,
    _aten.embedding.default: plain.embedding,
    _aten.exp.default: plain.function("exp"),
    _aten.expand.default: views.expand,
    _aten.flip.default: views.flip,
    _aten.gelu.default: plain.gelu,
    _aten.hardsigmoid.default: plain.hard_sigmoid,
    _aten.hardswish.default: plain.hard_swish,
    _aten.hardtanh.default: plain.hard_tanh,
    _aten.layer_norm.default: images.layer_norm,
    _aten.leaky_relu.default: plain.leaky_relu,
    _aten.linalg_vector_norm.default: heads.norm,
    _aten.linear.default: plain.linear,
    _aten.log_softmax.int: heads.log_softmax,
    _aten.matmul.default: plain.matmul,
    _aten.max_pool2d.default: pooling.max_pool,
    _aten.max_pool2d_with_indices.default: pooling.max_pool_with_indices,
    _aten.maximum.default: plain.maximum,
    _aten.mean.default: views.mean,
    _aten.mean.dim: views.mean,
    _aten.minimum.default: plain.minimum,
    _aten.mm.default: plain.matmul,
    _aten.mul.Scalar: plain.multiply,
    _aten.mul.Tensor: plain.multiply,
    _aten.mv.default: plain.matmul,
    BATCH_NORM: images.batch_norm,
    _aten.native_group_norm.default: images.group_norm,
    _aten.neg.default: plain.negate,
    _aten.permute.default: plain.permute,
    _aten.pow.Tensor_Scalar: plain.power,
    _aten.prelu.default: plain.parametric_relu,
    _aten.reciprocal.default: plain.reciprocal,
    _aten.relu.default: plain.function("relu"),
    _aten.repeat.default: views.repeat,
    _aten.reshape.default: plain.reshape,
    _aten.rms_norm.default: images.rms_norm,
    _aten.rsqrt.default: plain.function("rsqrt"),
    _aten.rsub.Scalar: plain.reverse_subtract,
    _aten.rsub.Tensor: plain.reverse_subtract,
    _aten.scaled_dot_product_attention.default: heads.attention,
    _aten.select.int: views.select,
    _aten.sigmoid.default: plain.function("sigmoid"),
    _aten.silu.default: plain.function("silu"),
    _aten.slice.Tensor: views.slice_of,
    _aten.softmax.int: heads.softmax,
    _aten.softplus.default: plain.softplus,
    _aten.split_with_sizes.default: views.split,
    _aten.squeeze.dims: views.squeeze,
    _aten.sub.Scalar: plain.subtract,
    _aten.sub.Tensor: plain.subtract,
    _aten.sum.default: views.total,
    _aten.sum.dim_IntList: views.total,
    _aten.tanh.default: plain.function("tanh"),
    _aten.transpose.int: views.transpose,
    _aten.unsqueeze.default: views.unsqueeze,
    _aten.upsample_bicubic2d.vec: resizing.resize(_aten.upsample_bicubic2d.vec),
    _aten.upsample_bilinear2d.vec: resizing.resize(_aten.upsample_bilinear2d.vec),
    _aten.upsample_linear1d.vec: resizing.resize(_aten.upsample_linear1d.vec),
    _aten.upsample_nearest1d.vec: resizing.resize(_aten.upsample_nearest1d.vec),
    _aten.upsample_nearest2d.vec: resizing.resize(_aten.upsample_nearest2d.vec),
    _aten.view.default: plain.reshape,
    _aten.where.self: views.where,
}
