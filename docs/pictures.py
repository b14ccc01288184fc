"""Draws every search space that comes with graphnas, for docs/methods.md: ``python docs/pictures.py``.

Two branches of two stages with three layers each, an auxiliary task beside the primary.
"""

from __future__ import annotations

from pathlib import Path

import graphnas as gn
from graphnas.cli.compile_ import draw
from graphnas.compiler import Branch, infer, lower
from graphnas.compiler.build import spec_branch
from graphnas.graph.types import Image
from graphnas.spec import NetworkSpec, parse_spec, presets

FOLDER = Path(__file__).parent / "methods"
NETWORK = {
    "kind": "network",
    "inputs": {"image": "image[3, H, W]"},
    "nodes": {
        "layer1": {"op": "conv2d", "out_channels": 16, "repeat": 3},
        "layer2": {"op": "conv2d", "out_channels": 32, "repeat": 3},
        "head": {"op": "conv2d", "out_channels": 3, "kernel_size": 1},
    },
    "outputs": {"prediction": "head"},
    "taps": {"s1": "layer1.*", "s2": "layer2.*"},
}


def branch() -> Branch:
    """The network of one task."""
    network = parse_spec(NETWORK, kind="network")
    assert isinstance(network, NetworkSpec)
    graph = infer(network, {"image": Image(3, 48, 64)})
    return spec_branch(network, graph, lower(network, graph))


def write(folder: Path) -> None:
    """One file a space."""
    branches = {task: branch() for task in ("normals", "segmentation")}
    for name in presets("search_space"):
        space = gn.load_spec(name)
        assert isinstance(space, gn.SearchSpaceSpec)
        draw(gn.weave(branches, primary="normals", space=space), folder / f"{name}.svg")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    write(FOLDER)
