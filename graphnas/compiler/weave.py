"""Join branches by the links of a plan into one graph.

One pointer a branch: each runs until a fusion waits for a value of another branch, then the next one goes on. So the order inside a
branch is kept, which its in-place operations and random numbers need. A fused value takes the place of the tap's own for every consumer
in its branch; links read the value from before (with ``replace``, after).
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Generator, Mapping

from torch import fx, nn

from graphnas.compiler.branch import Branch
from graphnas.compiler.fusion import Fusion, reads_destination
from graphnas.compiler.meta import Origin, set_origin, set_type, type_of
from graphnas.compiler.passes.remove_unread import remove_unread
from graphnas.compiler.plain import spec_line
from graphnas.compiler.plan import Destination, Plan, joint_key, make_plan
from graphnas.compiler.supernet import Supernet
from graphnas.compiler.torch_typed import own_children, share_tensors
from graphnas.compiler.values import tensor_attributes
from graphnas.errors import SpecError
from graphnas.spec.search_space import SearchSpaceSpec


def weave(branches: Mapping[str, Branch], *, primary: str, space: SearchSpaceSpec) -> Supernet:
    """Make a supernet of branches and a search space.

    Args:
        branches: Task -> its network; their parameters are shared with the supernet, not copied.
        primary: The task whose network is kept.
        space: Which links are candidates, and what must be true of them in the end.
    Raises:
        SpecError: The space does not fit the branches, or its constraints can't be proven.
    """
    with uncollected():
        return _weave(branches, primary, space)


@contextlib.contextmanager
def uncollected() -> Generator[None]:
    """Building makes many objects and no garbage: collecting meanwhile only costs time, more and more of it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _weave(branches: Mapping[str, Branch], primary: str, space: SearchSpaceSpec) -> Supernet:
    plan = make_plan(branches, primary, space)
    modules = nn.Module()
    modules.branches = nn.ModuleDict({task: skeleton(branch.module, branch.ancestors) for task, branch in branches.items()})
    modules.joints = nn.ModuleDict({task: nn.ModuleDict() for task in branches})
    for destination in plan.destinations:
        spec = space.fusion_of(destination.task, primary)
        fusion = Fusion(
            destination.combine, spec, destination.incoming, destination.type, channels_last=destination.channels_last,
            changed=destination.tap in branches[destination.task].changed,
        )  # fmt: skip
        modules.joints[destination.task].add_module(joint_key(destination.tap), fusion)
    weaver = _Weaver(branches, plan)
    graph = weaver.run()
    remove_unread(graph, modules, weaver.replaced)
    plan = plan.restricted({str(node.target) for node in graph.nodes if node.op == "call_module"})
    return Supernet(modules, graph, recorded=dict(branches), plan=plan, space=space)


def skeleton(module: nn.Module, ancestors: frozenset[str], path: str = "") -> nn.Module:
    """Plain containers in place of the modules that were looked into; all below them, and every parameter and buffer, is shared."""
    if path not in ancestors:
        return module
    made = nn.Module()
    made.training = module.training
    share_tensors(module, made)
    for name, value in tensor_attributes(module).items():
        setattr(made, name, value)
    for name, child in own_children(module).items():
        made.add_module(name, None if child is None else skeleton(child, ancestors, f"{path}.{name}" if path else name))
    return made


class _Pointer:
    """How far a branch has come."""

    def __init__(self, task: str, branch: Branch) -> None:
        self.task = task
        self.nodes = [node for node in branch.recorded.nodes if node.op not in ("placeholder", "output")]
        self.next = 0
        self.fusing: Destination | None = None  # waits for its sources


class _Weaver:
    def __init__(self, branches: Mapping[str, Branch], plan: Plan) -> None:
        self.branches = branches
        self.graph = fx.Graph()
        self.env: dict[tuple[str, fx.Node], fx.Node] = {}
        self.sent: dict[tuple[str, str], fx.Node] = {}  # what links from a tap read
        self.taps = {(task, node): name for task, branch in branches.items() for name, node in branch.tap_nodes.items()}
        self.destinations = {(d.task, d.tap): d for d in plan.destinations}
        self.sources = {(link.source.task, link.source.tap) for link in plan.links}
        self.replaced: list[fx.Node] = []

    def run(self) -> fx.Graph:
        self.inputs()
        pointers = [_Pointer(task, branch) for task, branch in self.branches.items()]
        while waiting := [pointer for pointer in pointers if pointer.fusing is not None or pointer.next < len(pointer.nodes)]:
            moved = [self.advance(pointer) for pointer in waiting]  # every one of them
            if not any(moved):
                stuck = ", ".join(f"{p.task}:{p.fusing.tap}" for p in waiting if p.fusing is not None)
                raise SpecError(f"the links form a cycle: {stuck} wait for each other")
        self.graph.output({task: self.env[task, branch.prediction] for task, branch in self.branches.items()})
        return self.graph

    def inputs(self) -> None:
        """One placeholder a name: inputs of equal names are shared."""
        made: dict[str, fx.Node] = {}
        for task, branch in self.branches.items():
            for node in branch.recorded.find_nodes(op="placeholder"):
                name = str(node.target)
                if name not in made:
                    made[name] = self.graph.placeholder(name)
                    set_origin(made[name], Origin("input"))
                    set_type(made[name], type_of(node))
                self.env[task, node] = made[name]

    def advance(self, pointer: _Pointer) -> bool:
        """Go on until a fusion has to wait; returns whether anything was done."""
        moved = False
        while True:
            if pointer.fusing is not None:
                if not self.fuse(pointer.fusing):
                    return moved
                pointer.fusing = None
                moved = True
            if pointer.next == len(pointer.nodes):
                return moved
            node = pointer.nodes[pointer.next]
            pointer.next += 1
            moved = True
            tap = self.taps.get((pointer.task, node))
            self.copy(pointer.task, node, tap)
            if tap is not None:
                pointer.fusing = self.tapped(pointer.task, tap, node)

    def copy(self, task: str, node: fx.Node, tap: str | None) -> None:
        made = self.graph.node_copy(node, lambda other: self.env[task, other])
        if node.op in ("call_module", "get_attr"):
            made.target = f"branches.{task}.{node.target}"
        set_origin(made, Origin("branch", task, tap, spec_line(self.branches[task].spec, node), node.name))
        self.env[task, node] = made

    def tapped(self, task: str, tap: str, node: fx.Node) -> Destination | None:
        """Keep what links from this tap read; returns the fusion that is due here."""
        made = self.env[task, node]
        destination = self.destinations.get((task, tap))
        if (task, tap) in self.sources and (destination is None or destination.combine != "replace"):
            if destination is None and tap in self.branches[task].changed:
                # The branch goes on to change this very tensor in place; a fusion would have made another one for it.
                clone = self.graph.call_method("clone", (made,))
                set_origin(clone, Origin("clone", task, tap))
                set_type(clone, type_of(made))
                made = clone
            self.sent[task, tap] = made
        return destination

    def fuse(self, destination: Destination) -> bool:
        task, tap = destination.task, destination.tap
        sources: list[fx.Node] = []
        for candidates in destination.incoming:
            sent = self.sent.get((candidates.link.source.task, candidates.link.source.tap))
            if sent is None:
                return False
            sources.append(sent)
        node = self.branches[task].tap_nodes[tap]
        own = self.env[task, node]
        needed = reads_destination(destination.combine, destination.incoming[0].source, destination.type) or destination.channels_last
        first = own if needed else sources[0]
        fused = self.graph.call_module(f"joints.{task}.{joint_key(tap)}", (first, *sources))
        set_origin(fused, Origin("fusion", task, tap, destination.incoming[0].link.where, node.name))
        set_type(fused, type_of(node))
        self.env[task, node] = fused
        if destination.combine == "replace":
            self.replaced.append(own)
            self.sent[task, tap] = fused
        return True
