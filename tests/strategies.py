"""Random valid specs, as the plain data of a file."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Data = dict[str, Any]

TASKS = ("normals", "segmentation", "depth-2")
STAGES = ("s1", "s2", "s3")
numbers = st.floats(0, 1e6, allow_nan=False) | st.integers(0, 1000)
positive = st.floats(1e-12, 1e6, allow_nan=False) | st.integers(1, 1000)
shares = st.floats(0, 1) | st.sampled_from([0, 1])
texts = st.text(st.characters(codec="utf-8", exclude_characters="$"), max_size=12)
"""Any text; a dollar sign stands for a parameter."""


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Data]:
    """Mappings with some of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


# -- search spaces

conditions = optional(
    same_stage=st.booleans(),
    max_gap=st.none() | st.integers(0, 4),
    at=st.sampled_from(["every", "stage_end"]),
    same_resolution=st.booleans(),
    max_links_per_tap=st.none() | st.integers(1, 4),
    random=st.none() | st.sampled_from([0.5, {"fraction": 0.25, "seed": 3}]),
)
link_operations = st.sampled_from(
    [
        "conv1x1",
        "identity",
        "none",
        {"op": "conv1x1", "initial": 1},
        {"op": "conv1x1", "initial": "kaiming", "resize": "nearest"},
        {"op": "conv3x3", "prefix": 1},
        {"op": "scale", "initial": 0.1, "per": "tap"},
    ]
)
_open = st.floats(0, 1, exclude_min=True, exclude_max=True)
gates = st.one_of(
    st.sampled_from(["sigmoid", "projected01", "clamp01"]),
    st.fixed_dictionaries({"function": st.just("sigmoid"), "initial": _open, "train_with": st.sampled_from(["alphas", "weights"])}),
)
free_gates = gates | st.one_of(
    st.sampled_from(["softmax", "fixed", "clamp11"]),
    st.fixed_dictionaries({"function": st.just("gumbel"), "temperature": positive | st.just({"start": 1, "end": 0.1})}),
)
"""Of links that need not converge."""
ramps = st.lists(shares, min_size=2, max_size=2).map(sorted)
penalties = st.none() | st.one_of(
    st.sampled_from(["l1", "entropy"]),
    st.fixed_dictionaries({"type": st.just("l1"), "of": st.sampled_from(["gate", "contribution"]), "strength": numbers, "ramp": ramps}),
)
norms = st.sampled_from(["none", "batch_norm", "layer_norm"]) | st.fixed_dictionaries(
    {"type": st.sampled_from(["batch_norm", "layer_norm"]), "eps": positive, "momentum": positive}
)


@st.composite
def link_rules(draw: st.DrawFn, into_primary: bool | None = None, replace: bool = True) -> Data:
    """A rule; into the primary only one that converges to zero."""
    a2p = draw(st.booleans()) if into_primary is None else into_primary
    elsewhere = st.sampled_from(["primary -> auxiliary", "auxiliary->auxiliary", "any -> auxiliary"])
    rule: Data = {"direction": "auxiliary -> primary" if a2p else draw(elsewhere)}
    rule |= {"operations": draw(st.lists(link_operations, min_size=1, max_size=3))}
    if replace and not a2p and draw(st.booleans()):
        return {**rule, "operations": rule["operations"][:1], "converges_to": "free", "combine": "replace"}
    rule |= {"converges_to": "zero" if a2p else draw(st.sampled_from(["zero", "free", "binary"]))}
    if rule["converges_to"] == "free":
        rule |= draw(optional(gate=free_gates))
    else:
        rule |= draw(optional(gate=gates, penalty=penalties))
    combines = ["add"] if rule["converges_to"] == "binary" else [None, "add", "mix"]
    rule |= {"combine": draw(st.sampled_from(combines))}
    return rule | draw(optional(where=conditions, tolerance=numbers))


@st.composite
def fusions(draw: st.DrawFn, on: str | None = None) -> Data:
    """What happens at a destination."""
    found = draw(
        optional(combine=st.sampled_from(["add", "mix"]), norm=norms, activation=st.sampled_from(["none", "relu", "gelu", "silu"]))
    )
    if draw(st.booleans()) and on is None:
        found["self"] = draw(st.sampled_from([{"op": "conv1x1", "initial": 0.9}, "scale", "identity"]))
    return {**found, "on": on or draw(st.sampled_from(["sum", "links"]))}


@st.composite
def search_spaces(draw: st.DrawFn) -> Data:
    """A search space."""
    space: Data = {"kind": "search_space", "links": draw(st.lists(link_rules(), max_size=4))}
    if draw(st.booleans()):
        space["version"] = 1
    kind = draw(st.sampled_from(["none", "one", "roles"]))
    if kind == "one":
        space["fusion"] = draw(fusions(on="links"))
    elif kind == "roles":
        space["fusion"] = {"primary": draw(fusions(on="links")), "auxiliary": draw(fusions())}
    inference = st.sampled_from(["primary", "primary+fusion", "all"])
    return space | draw(optional(constraints=optional(inference=inference)))


# -- networks

_UNARY: list[Data] = [
    {"op": "conv2d", "out_channels": 4},
    {"op": "conv2d", "out_channels": 6, "kernel_size": [1, 3], "bias": False},
    {"op": "batch_norm", "momentum": 0.05},
    {"op": "relu"},
    {"op": "basic_block", "out_channels": 4, "repeat": 2},
    {"op": "dropout", "p": 0.25},
]


@st.composite
def networks(draw: st.DrawFn, most: int = 6, taps: bool = True) -> Data:
    """A network of 2 to ``most`` + 1 nodes on one resolution, each reading an earlier one, the last with ``$out_channels`` channels."""
    nodes: dict[str, Any] = {"n0": {"op": "conv2d", "out_channels": 4, "inputs": "image"}}
    channels = {"n0": 4}
    for i in range(1, draw(st.integers(1, most))):
        first = draw(st.sampled_from(sorted(channels)))
        alike = sorted(name for name in channels if channels[name] == channels[first])
        if draw(st.booleans()):
            node = {**draw(st.sampled_from(_UNARY)), "inputs": first}
            channels[f"n{i}"] = node.get("out_channels", channels[first])
        else:
            node = {"op": "add", "inputs": [first, draw(st.sampled_from(alike))]}
            channels[f"n{i}"] = channels[first]
        nodes[f"n{i}"] = node
    middle = list(nodes)
    nodes["head"] = {"op": "conv2d", "kernel_size": "$size", "out_channels": "$out_channels", "inputs": middle[-1]}
    spec: Data = {
        "kind": "network",
        "parameters": {
            "out_channels": {"type": "integer", "minimum": 1},
            "size": {"type": "integer", "default": draw(st.sampled_from([1, 3])), "description": draw(texts)},
        },
        "inputs": {"image": "image[3, H, W]"},
        "nodes": nodes,
        "outputs": draw(st.sampled_from(["head", {"prediction": "head"}])),
    }
    if taps and draw(st.booleans()):
        written = st.sampled_from([lambda name: name, lambda name: [name], lambda name: {"match": name, "layout": "nchw"}])
        spec["taps"] = {stage: draw(written)(name) for stage, name in zip(STAGES, middle, strict=False)}
    return spec


# -- task pairs and searches

tasks = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("surface_normal"), "key": st.just("normal.png")},
        optional={"labeled": st.integers(1, 99) | st.just({"fraction": 0.5}), "loss": st.sampled_from(["cosine", "l1"])},
    ),
    st.fixed_dictionaries(
        {"type": st.just("semantic_segmentation"), "key": st.just("seg.png"), "classes": st.integers(2, 40)},
        optional={"ignore_index": st.integers(0, 255), "missing": st.sampled_from(["skip", "error"])},
    ),
    st.fixed_dictionaries({"type": st.just("depth"), "key": st.just("depth.png")}, optional={"scale": positive}),
)
transforms = st.sampled_from(
    ["horizontal_flip", {"random_crop": [40, 56]}, {"color_jitter": 0.3}, {"horizontal_flip": {"probability": 0.1}}]
)
normalizations = st.sampled_from(["none", "imagenet", {"mean": [0.5], "std": [0.25]}])


@st.composite
def task_pairs(draw: st.DrawFn) -> Data:
    """A task pair of one to three tasks, whose files need not be there."""
    names = draw(st.lists(st.sampled_from(TASKS), min_size=1, max_size=3, unique=True))
    source: Data = {"layout": "webdataset", "train": draw(st.sampled_from(["data/training.tar", "/a/b.tar"]))}
    return {
        "kind": "task_pair",
        "primary": names[0],
        "sources": {draw(texts): source},
        "inputs": {"image": {"key": "img.png", "normalize": draw(normalizations)}},
        "tasks": {name: draw(tasks) for name in names},
        "transforms": draw(st.lists(transforms, max_size=3)),
    }


schedules = st.sampled_from(["constant", "cosine", {"type": "poly", "power": 0.5}, {"type": "step", "milestones": [0.5, 0.75]}])
optimizers = st.one_of(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["adam", "adamw"]), "lr": positive}, optional={"betas": st.just([0.9, 0.99]), "schedule": schedules}
    ),
    st.fixed_dictionaries(
        {"type": st.just("sgd"), "lr": positive},
        optional={"momentum": shares, "groups": st.just({"**.head.**": {"lr": 1e-3, "momentum": 0}})},
    ),
)
length = st.fixed_dictionaries({"epochs": st.integers(1, 99)}) | st.fixed_dictionaries({"steps": st.integers(1, 9999)})


@st.composite
def searches(draw: st.DrawFn) -> Data:
    """A whole search; what it refers to stands inside."""
    pair = draw(task_pairs())
    training = {
        **draw(length),
        "batch_size": 8,
        "optimizers": {"weights": draw(optimizers), "alphas": draw(st.none() | optimizers)},
    }
    training |= draw(
        optional(
            auxiliary_batch_size=st.integers(0, 8),
            updates=st.sampled_from(["alternate", "joint"]),
            clip_gradient=positive,
            select=st.sampled_from(["last", {"metric": "last", "after": 0.5}]),
            evaluate_every=st.sampled_from([{"steps": 5}, {"minutes": 0.5}]),
            finetune=st.just({"steps": 3, "optimizer": {"type": "sgd", "lr": 0.1}}),
        )
    )
    weights = st.dictionaries(st.sampled_from(list(pair["tasks"])), numbers | st.just({"start": 12, "end": 0}))
    names = ("*", pair["primary"])
    return {
        "kind": "search",
        "task_pair": pair,
        "networks": {name: {"use": draw(networks()), "parameters": {"size": 3}} for name in names},
        "space": draw(search_spaces()),
        "training": training,
    } | draw(optional(balance=st.fixed_dictionaries({}, optional={"weights": weights}), seed=st.integers(0, 9), baseline=st.just("none")))
