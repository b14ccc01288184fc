"""Random small networks: valid specs of the DAG language, as plain data."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from graphnas.graph.types import Image

INPUT = Image(3, 8, 12)

UNARY: list[dict[str, Any]] = [
    {"op": "conv2d", "out_channels": 4},
    {"op": "conv2d", "out_channels": 6, "kernel_size": 1, "bias": False},
    {"op": "conv2d", "out_channels": 4, "kernel_size": 3, "groups": 2},
    {"op": "batch_norm"},
    {"op": "layer_norm"},
    {"op": "relu"},
    {"op": "gelu"},
    {"op": "avg_pool2d", "kernel_size": 3, "stride": 1, "padding": 1},
    {"op": "basic_block", "out_channels": 4},
    {"op": "basic_block", "out_channels": 6, "repeat": 2},
    {"op": "bottleneck", "out_channels": 8},
    {"op": "identity"},
]


@st.composite
def graphs(draw: st.DrawFn, most: int = 8) -> dict[str, Any]:
    """A network of up to ``most`` nodes of one resolution, in shuffled order, that reads ``INPUT`` as ``image``."""
    channels = {"image": INPUT.channels}
    nodes: dict[str, dict[str, Any]] = {}
    for i in range(draw(st.integers(1, most))):
        name = draw(st.sampled_from([f"n{i}", f"block{i}.part", f"stage{i}.0"]))
        first = draw(st.sampled_from(sorted(channels)))
        partners = sorted(other for other in channels if channels[other] == channels[first])
        kind = draw(st.sampled_from(["unary", "unary", "add", "concat"]))
        if kind == "unary":
            node = dict(draw(st.sampled_from([op for op in UNARY if channels[first] % op.get("groups", 1) == 0])), inputs=first)
            channels[name] = node.get("out_channels", channels[first])
        else:
            node = {"op": kind, "inputs": [first, draw(st.sampled_from(partners if kind == "add" else sorted(channels)))]}
            channels[name] = channels[first] if kind == "add" else channels[first] + channels[node["inputs"][1]]
        nodes[name] = node
    outputs = {"prediction": next(reversed(nodes))} | draw(st.sampled_from([{}, {"other": next(iter(nodes))}]))
    order = draw(st.permutations(list(nodes)))
    return {"kind": "network", "inputs": {"image": "image[3, H, W]"}, "nodes": {name: nodes[name] for name in order}, "outputs": outputs}
