"""One or more (parameters, input types) of every operation, for the contract suite."""

from __future__ import annotations

from typing import Any

from graphnas.graph.types import Ids, Image, Mask, Tokens, ValueType, Vector

IMAGE = Image(6, 8, 12)
TOKENS = Tokens(97, 8, 1, (8, 12))
VECTOR = Vector(5)
SMALL_VIT = {"model": "vit_tiny_patch16_224", "img_size": [32, 48], "num_classes": 4}
SMALL_HF_VIT = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "image_size": [32, 48], "patch_size": 8,
}  # fmt: skip
SMALL_HF_DPT = {
    **SMALL_HF_VIT, "num_hidden_layers": 4, "image_size": 32, "backbone_out_indices": [0, 1, 2, 3], "neck_hidden_sizes": [4, 4, 4, 4],
    "fusion_hidden_size": 4, "add_projection": False,
}  # fmt: skip
SMALL_BERT = {
    "vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 16,
}  # fmt: skip
NESTED = {
    "kind": "network",
    "inputs": {"image": "image[C, H, W]"},
    "nodes": {"stem": {"op": "conv2d", "out_channels": 3}, "act": "relu", "head": {"op": "conv2d", "out_channels": 2, "stride": 2}},
    "outputs": {"prediction": "head"},
}

CASES: dict[str, list[tuple[dict[str, Any], list[ValueType]]]] = {
    "conv2d": [
        ({"out_channels": 4, "stride": 2, "groups": 2}, [IMAGE]),
        ({"out_channels": 4, "kernel_size": [4, 3], "dilation": [1, 2], "bias": False}, [IMAGE]),
        ({"out_channels": 6, "kernel_size": 5, "groups": 6, "padding": 0}, [IMAGE]),
        ({"out_channels": 2, "kernel_size": 1, "stride": [2, 1]}, [Image(3, 7, 5)]),
    ],
    "linear": [({"out_features": 3}, [TOKENS]), ({"out_features": 3, "bias": False}, [VECTOR])],
    "mlp": [
        ({"hidden_features": 7, "out_features": 3, "activation": "silu"}, [VECTOR]),
        ({"hidden_features": 7, "dropout": 0.1}, [TOKENS]),
    ],
    "batch_norm": [({}, [IMAGE]), ({"eps": 1e-3, "momentum": 0.05}, [VECTOR])],
    "layer_norm": [({}, [IMAGE]), ({}, [TOKENS]), ({"eps": 1e-6}, [VECTOR])],
    "group_norm": [({"groups": 3}, [IMAGE])],
    "relu": [({}, [IMAGE])],
    "gelu": [({}, [TOKENS])],
    "silu": [({}, [VECTOR])],
    "sigmoid": [({}, [IMAGE])],
    "tanh": [({}, [IMAGE])],
    "leaky_relu": [({"slope": 0.2}, [IMAGE])],
    "max_pool2d": [({"kernel_size": 3, "stride": 2, "padding": 1}, [IMAGE]), ({}, [Image(2, 7, 5)])],
    "avg_pool2d": [
        ({}, [IMAGE]),
        ({"kernel_size": [2, 3], "stride": 1}, [IMAGE]),
        ({"kernel_size": 3, "padding": 1, "count_padding": False}, [IMAGE]),
    ],
    "global_avg_pool": [({}, [IMAGE]), ({}, [TOKENS])],
    "flatten": [({}, [IMAGE]), ({}, [TOKENS]), ({}, [VECTOR])],
    "to_tokens": [({}, [IMAGE])],
    "to_image": [({}, [TOKENS]), ({"grid": [6, 8]}, [Tokens(49, 3), Image(3, 12, 16)])],
    "upsample": [
        ({"scale": 2}, [IMAGE]),
        ({}, [IMAGE, Image(3, 20, 20)]),
        ({"size": 5, "mode": "nearest"}, [IMAGE]),
        ({"size": [8, 12]}, [IMAGE]),
    ],
    "identity": [({}, [TOKENS])],
    "add": [({}, [IMAGE, IMAGE, IMAGE]), ({}, [Tokens(97, 8), TOKENS])],
    "concat": [({}, [IMAGE, Image(2, 8, 12)]), ({}, [TOKENS, TOKENS]), ({}, [VECTOR, Vector(1), VECTOR])],
    "dropout": [({"p": 0.3}, [IMAGE])],
    "patch_embed": [
        ({"width": 8, "patch_size": 4, "class_token": True}, [IMAGE]),
        ({"width": 8, "patch_size": 2, "position": "none"}, [IMAGE]),
    ],
    "attention": [({"heads": 2, "dropout": 0.1}, [TOKENS])],
    "transformer_block": [({"heads": 2, "mlp_ratio": 1.5}, [TOKENS])],
    "basic_block": [({"out_channels": 6}, [IMAGE]), ({"out_channels": 7, "stride": 2}, [Image(6, 9, 7)]), ({"out_channels": 7}, [IMAGE])],
    "bottleneck": [
        ({"out_channels": 16, "stride": 2, "groups": 2}, [IMAGE]),
        ({"out_channels": 6, "width": 5}, [IMAGE]),
        ({"out_channels": 16, "stride": 3}, [IMAGE]),
    ],
    "linear_head": [
        ({"out_channels": 3, "pool": "class_token"}, [TOKENS]),
        ({"out_channels": 3, "dropout": 0.1}, [TOKENS]),
        ({"out_channels": 3}, [IMAGE]),
        ({"out_channels": 3}, [VECTOR]),
    ],
    "fpn_head": [
        ({"out_channels": 3, "channels": 8, "scale": 2}, [IMAGE, Image(3, 16, 20), Image(9, 2, 2)]),
        ({"out_channels": 3, "channels": 8}, [IMAGE]),
    ],
    "dpt_head": [
        ({"out_channels": 3, "channels": 8, "patch_size": 4}, [TOKENS] * 4),
        ({"out_channels": 3, "channels": 8, "patch_size": 4}, [TOKENS, TOKENS, IMAGE]),
        ({"out_channels": 3, "channels": 1, "patch_size": 3}, [Tokens(35, 8, 0, (5, 7))] * 5),
        ({"out_channels": 3, "channels": 8}, [TOKENS]),
    ],
    "reassemble_head": [
        ({"out_channels": 3, "channels": 8}, [TOKENS] * 4),
        ({"out_channels": 3, "channels": 8, "patch_size": 4}, [TOKENS, Tokens(96, 5, 0, (8, 12)), IMAGE]),
        ({"out_channels": 3, "channels": 1, "patch_size": 3}, [Tokens(35, 8, 0, (5, 7))] * 5),
        ({"out_channels": 3, "channels": 8}, [TOKENS]),
    ],
    "deeplab_head": [
        ({"out_channels": 3, "channels": 10, "dropout": 0.5}, [IMAGE]),
        ({"out_channels": 3, "channels": 4, "dilations": [1, 2]}, [IMAGE]),
        ({"out_channels": 3, "dilations": [6, 12, 18, 24]}, [Image(5, 3, 1)]),
    ],
    "vgg_encoder": [
        ({"depth": 11, "batch_norm": False}, [Image(3, 33, 40)]),
        ({"depth": 13, "output_stride": 8, "pool_size": 3}, [Image(3, 9, 14)]),
        ({"depth": 11, "output_stride": 16}, [Image(3, 32, 16)]),
    ],
    "timm": [(SMALL_VIT, [Image(3, 32, 48)]), ({"model": "resnet18", "num_classes": 0}, [Image(3, 33, 40)])],
    "torchvision": [({"model": "resnet18"}, [Image(3, 32, 32)])],
    "huggingface": [
        ({"architecture": "vit", "config": SMALL_HF_VIT, "head": "image_classification"}, [Image(3, 32, 48)]),
        ({"architecture": "dpt", "head": "depth_estimation", "config": SMALL_HF_DPT}, [Image(3, 32, 32)]),
        ({"architecture": "bert", "config": SMALL_BERT, "inputs": ["ids", "mask"]}, [Ids(7), Mask(7)]),
    ],
    "smp": [({"architecture": "FPN", "encoder": "resnet18", "classes": 2, "decoder_pyramid_channels": 8}, [Image(3, 32, 64)])],
    "network": [({"use": NESTED}, [IMAGE])],
}
