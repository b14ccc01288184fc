"""The names of everything extensible.

Built-ins are listed here by module string, so nothing is imported before its name is asked for. Third parties register theirs through
``gn.register_operation`` and its like, from a module named by ``--plugin``, or through the ``graphnas.plugins`` entry point group.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from graphnas.errors import GraphNASError, suggest


class UnknownName(LookupError):
    """A name that is not registered; ``fix`` says what may have been meant."""

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        super().__init__(f"unknown {kind} {name!r}")
        self.fix = suggest(name, known)


class Registry:
    """Names of one kind of thing.

    Args:
        kind: What the things are called in messages, ``operation``.
        builtins: Name -> ``module:attribute``, imported when first asked for.
    """

    def __init__(self, kind: str, builtins: Mapping[str, str]) -> None:
        self.kind = kind
        self._paths = dict(builtins)
        self._loaded: dict[str, Any] = {}

    def register(self, name: str, value: Any) -> None:
        """Add a third-party name.

        Raises:
            GraphNASError: The name is taken by something else.
        """
        if name in self._paths or self._loaded.get(name, value) is not value:
            raise GraphNASError(f"{self.kind} {name!r} is registered already", fix="choose another name")
        self._loaded[name] = value

    def get(self, name: str) -> Any:
        """What stands under this name.

        Raises:
            UnknownName: Nothing does; carries the nearest name.
        """
        _load_plugins()
        if name not in self._loaded:
            if name not in self._paths:
                raise UnknownName(self.kind, name, self.names())
            module, _, attribute = self._paths[name].partition(":")
            self._loaded[name] = getattr(importlib.import_module(module), attribute)
        return self._loaded[name]

    def names(self) -> list[str]:
        """All names: the built-in ones in the order listed here, then the registered ones."""
        _load_plugins()
        return list(dict.fromkeys([*self._paths, *self._loaded]))


_plugins_loaded = False


def _load_plugins() -> None:
    global _plugins_loaded
    if not _plugins_loaded:
        _plugins_loaded = True  # first: a plugin registers names while it is imported
        for entry in entry_points(group="graphnas.plugins"):
            entry.load()


def _builtins(package: str, listing: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """``{file: {name: attribute}}`` below a package -> ``{name: module:attribute}``."""
    return {name: f"graphnas.{package}.{file}:{attribute}" for file, names in listing.items() for name, attribute in names.items()}


operations = Registry(
    "operation",
    _builtins(
        "ops",
        {
            "convolution": {"conv2d": "Conv2d"},
            "linear": {"linear": "Linear", "mlp": "Mlp"},
            "normalization": {"batch_norm": "BatchNorm", "layer_norm": "LayerNorm", "group_norm": "GroupNorm"},
            "activation": {
                "relu": "Relu",
                "gelu": "Gelu",
                "silu": "Silu",
                "sigmoid": "Sigmoid",
                "tanh": "Tanh",
                "leaky_relu": "LeakyRelu",
            },
            "pooling": {"max_pool2d": "MaxPool2d", "avg_pool2d": "AvgPool2d", "global_avg_pool": "GlobalAvgPool"},
            "shape": {
                "flatten": "Flatten",
                "to_tokens": "ToTokens",
                "to_image": "ToImage",
                "upsample": "Upsample",
                "identity": "Identity",
            },
            "combination": {"add": "Add", "concat": "Concat"},
            "dropout": {"dropout": "Dropout"},
            "transformer": {
                "patch_embed": "PatchEmbed",
                "attention": "Attention",
                "transformer_block": "TransformerBlock",
            },
            "residual": {"basic_block": "BasicBlock", "bottleneck": "Bottleneck"},
            "heads": {"linear_head": "LinearHead", "fpn_head": "FpnHead"},
            "dpt": {"dpt_head": "DptHead"},
            "reassemble": {"reassemble_head": "ReassembleHead"},
            "deeplab": {"deeplab_head": "DeeplabHead"},
            "vgg": {"vgg_encoder": "VggEncoder"},
            "pretrained": {"timm": "Timm", "torchvision": "Torchvision"},
            "huggingface": {"huggingface": "HuggingFace"},
            "smp": {"smp": "Smp"},
        },
    )
    | {"network": "graphnas.compiler.nested:Network"},
)
link_operations = Registry(
    "link operation",
    _builtins(
        "ops",
        {
            "link_convolution": {"conv1x1": "LinkConv1x1", "conv3x3": "LinkConv3x3"},
            "link_scale": {"scale": "LinkScale"},
            "link_simple": {"identity": "LinkIdentity", "none": "LinkNone"},
        },
    ),
)
gates = Registry(
    "gate function",
    _builtins(
        "gates",
        {
            "sigmoid": {"sigmoid": "Sigmoid"},
            "clamp": {"clamp01": "Clamp01", "clamp11": "Clamp11"},
            "projected": {"projected01": "Projected01"},
            "softmax": {"softmax": "Softmax"},
            "gumbel": {"gumbel": "Gumbel"},
            "fixed": {"fixed": "Fixed"},
        },
    ),
)
penalties = Registry(
    "penalty",
    _builtins("gates", {"l1": {"l1": "L1"}, "entropy": {"entropy": "Entropy"}, "proximal": {"proximal": "Proximal"}}),
)
task_types = Registry(
    "task type",
    _builtins(
        "tasks",
        {
            "surface_normal": {"surface_normal": "SurfaceNormal"},
            "semantic_segmentation": {"semantic_segmentation": "SemanticSegmentation"},
            "depth": {"depth": "Depth"},
            "disparity": {"disparity": "Disparity"},
            "classification": {"classification": "Classification"},
            "boundary": {"boundary": "Boundary"},
            "regression": {"regression": "Regression"},
        },
    ),
)
layouts = Registry(
    "layout",
    _builtins(
        "data",
        {
            "folder": {"folder": "Folder"},
            "webdataset": {"webdataset": "WebDataset"},
            "nyuv2": {"nyuv2": "Nyuv2"},
            "cityscapes": {"cityscapes": "Cityscapes"},
            "taskonomy": {"taskonomy": "Taskonomy"},
            "huggingface": {"huggingface": "HuggingFace"},
            "python": {"python": "PythonData"},
        },
    ),
)
transforms = Registry(
    "transform",
    _builtins(
        "data",
        {
            "transforms": {
                "resize": "Resize",
                "random_scale": "RandomScale",
                "random_crop": "RandomCrop",
                "horizontal_flip": "HorizontalFlip",
                "rotation": "Rotation",
                "color_jitter": "ColorJitter",
            }
        },
    ),
)
balances = Registry(
    "balance",
    _builtins(
        "search.balance",
        {
            "weighted_sum": {"sum": "WeightedSum"},
            "label_ratio": {"label_ratio": "LabelRatio"},
            "learned": {"uncertainty": "Uncertainty", "imtl_l": "ImtlL"},
            "rates": {"dwa": "Dwa", "famo": "Famo"},
            "scalar": {"stch": "Stch", "rlw": "Rlw"},
            "projection": {"upgrad": "UpGrad", "dualproj": "DualProj", "pcgrad": "PcGrad", "gradvac": "GradVac"},
            "minimum_norm": {"mgda": "Mgda", "cagrad": "CaGrad"},
            "impartial": {"imtl_g": "ImtlG", "aligned_mtl": "AlignedMtl", "config": "ConFig"},
            "bargaining": {"nash_mtl": "NashMtl", "fairgrad": "FairGrad"},
            "sign": {"graddrop": "GradDrop"},
            "priority": {"gcs": "Gcs", "pcd": "Pcd"},
            "lookahead": {"auto_lambda": "AutoLambda"},
            "auxinash": {"auxinash": "AuxiNash"},
        },
    ),
)
networks = Registry("network", {})  # of the user: name -> a callable that returns an nn.Module
