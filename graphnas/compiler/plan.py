"""What a search space makes of these branches: every candidate link, how it fuses, and the proof that the space may be trained.

Nothing here builds a graph; ``weave`` does, from a ``Plan``. All that is wrong with the space is reported at once, at the rules' lines.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from graphnas.compiler.branch import Branch
from graphnas.compiler.fusion import Candidates, Combine
from graphnas.errors import Problem, SpecError, suggest
from graphnas.graph import constraints
from graphnas.graph.links import Direction, End, Link, Pair, Selection, chosen, pairs, resolution
from graphnas.graph.types import ValueType
from graphnas.ops.base import LinkModule, LinkOperation, TypeRuleError
from graphnas.spec.search_space import ROLES, LinkRule, SearchSpaceSpec


@dataclass(frozen=True)
class Destination:
    """A tap that links end at."""

    task: str
    tap: str
    type: ValueType
    combine: Combine
    incoming: tuple[Candidates, ...]
    channels_last: bool = False


@dataclass(frozen=True)
class Plan:
    """The links of a supernet, by destination in order of execution within each task."""

    primary: str
    links: tuple[Link, ...]
    destinations: tuple[Destination, ...]
    proven: tuple[str, ...]  # what was proven, in words

    def restricted(self, called: Collection[str]) -> Plan:
        """The same without the fusions that a graph does not call: those that only a replaced value would have read."""
        kept = tuple(d for d in self.destinations if f"joints.{d.task}.{joint_key(d.tap)}" in called)
        left = {candidates.link.id for destination in kept for candidates in destination.incoming}
        return replace(self, destinations=kept, links=tuple(link for link in self.links if link.id in left))


def joint_key(tap: str) -> str:
    """The name of a tap's fusion among its task's: names of submodules hold no dots."""
    name = tap.replace(".", "/")
    return f"/{name}" if hasattr(nn.ModuleDict, name) else name  # a value called `float`, as the function that made it


def make_plan(branches: Mapping[str, Branch], primary: str, space: SearchSpaceSpec) -> Plan:
    """Choose the links, build their operations, and prove the constraints.

    Raises:
        SpecError: A rule that names no task or yields no link or too many, two combine kinds on one destination, shapes that no adapter
            joins, stages in another order, a cycle, a path from an auxiliary into the primary that would stay.
    """
    planner = _Planner(branches, primary, space)
    planner.check_space()
    planner.check_stages()
    for index, rule in enumerate(space.links):
        planner.add(index, rule)
    planner.raise_problems()
    destinations = planner.destinations()
    planner.raise_problems()
    proven = planner.prove(destinations)
    return Plan(primary, tuple(link for link, _ in planner.found.values()), destinations, proven)


class _Planner:
    def __init__(self, branches: Mapping[str, Branch], primary: str, space: SearchSpaceSpec) -> None:
        if primary not in branches:
            raise SpecError(f"primary {primary!r} has no branch", fix=suggest(primary, branches))
        self.branches, self.primary, self.space = branches, primary, space
        self.taps = {task: branch.taps for task, branch in branches.items()}
        self.found: dict[str, tuple[Link, LinkRule]] = {}
        self.types = {(task, tap.name): tap.type for task, branch in branches.items() for tap in branch.taps}
        self.channels_last = {(task, tap.name) for task, branch in branches.items() for tap in branch.taps if tap.channels_last}
        self.problems: list[Problem] = []

    def raise_problems(self) -> None:
        if self.problems:
            raise SpecError(self.problems)

    def tasks(self, role: str) -> tuple[str, ...]:
        """The tasks of a role, or of that name; none for an unknown one."""
        auxiliaries = tuple(task for task in self.branches if task != self.primary)
        if role == "primary":
            return (self.primary,)
        if role == "auxiliary":
            return auxiliaries
        if role == "any":
            return tuple(self.branches)
        return (role,) if role in self.branches else ()

    def check_space(self) -> None:
        """Names of no task, and norms that would stay in the primary. (Links that would stay are refused with a path: see ``prove``.)"""
        found = self.space.problems_with(self.primary, self.branches)
        self.problems += [problem for problem in found if not problem.path.endswith(".converges_to")]

    def check_stages(self) -> None:
        """Stages that two branches share must come in the same order in both."""
        if not self.space.links:
            return
        for (first_task, first), (task, branch) in itertools.combinations(self.branches.items(), 2):
            reference = [stage for stage in first.graph.stages if stage in branch.graph.stages]
            own = [stage for stage in branch.graph.stages if stage in first.graph.stages]
            if own != reference:
                message = f"{task} runs its stages in the order {', '.join(own)}, {first_task} in the order {', '.join(reference)}"
                where = branch.graph.stages[own[0]][0].where
                self.problems.append(Problem(message, where, fix="give stages of equal names the same order"))

    def add(self, index: int, rule: LinkRule) -> None:
        sources, destinations = self.tasks(rule.source), self.tasks(rule.destination)
        if not self._has_tasks(index, rule, sources, destinations):
            return
        where = self.space.where("links", index)
        found = self._pairs(index, rule, _selection(rule, sources, destinations))
        if found is None:
            return
        for source_task, source, destination_task, destination in found:
            link = Link(
                f"{source_task}:{source.name}->{destination_task}:{destination.name}",
                End(source_task, source.name), End(destination_task, destination.name),
                self._direction(source_task, destination_task), _names(rule.operations), index, where,
            )  # fmt: skip
            if link.id in self.found:
                other = self.found[link.id][0].rule
                self._problem(index, "where", f"link {link.id} is a candidate of links[{other}] already", "let one rule make each link")
                return
            self.found[link.id] = (link, rule)
        if not found:
            self._no_link(index, rule, sources, destinations)

    def _pairs(self, index: int, rule: LinkRule, selection: Selection) -> list[Pair] | None:
        """The ends of a rule's links; ``None``, and a problem, if there are too many."""
        random = rule.where.random
        share = 1.0 if random is None else random.fraction
        most = math.floor((rule.max_links + 0.5) / share)  # candidates of which no more than max_links are chosen
        found = list(itertools.islice(pairs(selection, self.taps), most + 1))
        if len(found) > most:
            fix = f"narrow where:, or raise max_links: {2 * rule.max_links}"
            self._problem(index, "max_links", f"more than {rule.max_links} links", fix)
            return None
        return found if random is None else chosen(found, random.fraction, random.seed)

    def _has_tasks(self, index: int, rule: LinkRule, sources: Sequence[str], destinations: Sequence[str]) -> bool:
        if not sources or not destinations:
            if {rule.source, rule.destination} <= {*self.branches, *ROLES}:
                self._no_auxiliary(index, rule)
            return False
        if len(self.branches) == 1 and "any" in (rule.source, rule.destination):
            self._no_auxiliary(index, rule)
            return False
        if len({*sources, *destinations}) == 1:
            message = f"{rule.direction} yields no link: both ends are {sources[0]}, and a task is not linked with itself"
            self._problem(index, "direction", message, "name another task, or leave the rule out")
            return False
        return True

    def _no_auxiliary(self, index: int, rule: LinkRule) -> None:
        message = f"{rule.direction} yields no link: there is no auxiliary task"
        self._problem(index, "direction", message, "add an auxiliary, or use space: single-task")

    def _no_link(self, index: int, rule: LinkRule, sources: Sequence[str], destinations: Sequence[str]) -> None:
        tasks = dict.fromkeys((*sources, *destinations))
        untapped = [task for task in tasks if not self.taps[task]]
        anywhere = replace(_selection(rule, sources, destinations), same_resolution=False)
        if untapped:
            fix = f"give the network of {untapped[0]} taps"
        elif rule.where.same_resolution and next(iter(pairs(anywhere, self.taps)), None) is not None:
            found = "; ".join(f"{task} has {_resolutions(self.branches[task])}" for task in tasks)
            fix = f"same_resolution: false, for links that resize; or taps of equal height and width: {found}"
        else:
            found = "; ".join(f"{task} has {', '.join(self.branches[task].graph.stages)}" for task in tasks)
            fix = f"stages are matched by name: {found}"
        self._problem(index, "direction", f"{rule.direction} yields no link", fix)

    def _problem(self, index: int, part: str, message: str, fix: str) -> None:
        self.problems.append(self.space.problem(message, "links", index, part, fix=fix))

    def _direction(self, source: str, destination: str) -> Direction:
        return "a2p" if destination == self.primary else "p2a" if source == self.primary else "a2a"

    # -- fusion

    def destinations(self) -> tuple[Destination, ...]:
        by_tap: dict[tuple[str, str], list[tuple[Link, LinkRule]]] = {}
        for link, rule in self.found.values():
            by_tap.setdefault((link.destination.task, link.destination.tap), []).append((link, rule))
        made: list[Destination] = []
        for task, branch in self.branches.items():
            for tap in branch.taps:
                if (incoming := by_tap.get((task, tap.name))) is not None and (
                    combine := self._combine(task, tap.name, incoming)
                ) is not None:
                    candidates = tuple(c for link, rule in incoming if (c := self._candidates(link, rule)) is not None)
                    made.append(Destination(task, tap.name, tap.type, combine, candidates, tap.channels_last))
        return tuple(made)

    def _combine(self, task: str, tap: str, incoming: Sequence[tuple[Link, LinkRule]]) -> Combine | None:
        default = self.space.fusion_of(task, self.primary).combine
        kinds: dict[Combine, int] = {(rule.combine or default): link.rule for link, rule in incoming}
        last = max(kinds.values())
        if len(kinds) > 1:
            described = " and ".join(f"{kind} (links[{rule}])" for kind, rule in kinds.items())
            self._once(
                last,
                "combine",
                f"two combine kinds on one destination, {task}:{tap}: {described}",
                "let all rules into a tap combine alike",
            )
            return None
        [kind] = kinds
        if kind == "replace" and len(incoming) > 1:
            self._once(last, "where", f"{len(incoming)} links replace {task}:{tap}, one is possible", "max_gap: 0, from one task")
            return None
        for link, rule in incoming if kind == "mix" else ():
            if rule.converges_to == "binary":
                message = "the gates of mix share 1 with the destination's own value, so they don't converge to 0 or 1 each"
                self._once(link.rule, "converges_to", message, "converges_to: free, or combine: add")
                return None
            if _name(rule.gate, "function") != "sigmoid" or not 0 < rule.gate.initial < 1:
                self._once(
                    link.rule,
                    "gate",
                    f"mix has gates of its own, softmax([0, alpha]), got {_name(rule.gate, 'function')}",
                    "function: sigmoid, with an initial between 0 and 1",
                )
                return None  # fmt: skip
        return kind

    def _once(self, index: int, part: str, message: str, fix: str) -> None:
        """Report the first of many like it."""
        path = f"links[{index}].{part}"
        if not any(problem.path == path for problem in self.problems):
            self._problem(index, part, message, fix)

    def _candidates(self, link: Link, rule: LinkRule) -> Candidates | None:
        source = self.types[link.source.task, link.source.tap]
        destination = self.types[link.destination.task, link.destination.tap]
        modules: dict[str, LinkModule | None] = {}
        for name, operation in zip(link.operations, rule.operations, strict=True):
            assert isinstance(operation, LinkOperation)
            try:
                modules[name] = operation.build(source, destination)
            except TypeRuleError as error:
                self._once(link.rule, "operations", f"{link.id}: {error}", error.fix or "link taps whose shapes can be adapted")
                return None
        return Candidates(link, modules, rule.gate, source, (link.source.task, link.source.tap) in self.channels_last)

    # -- proofs

    def prove(self, destinations: Sequence[Destination]) -> tuple[str, ...]:
        graphs = {task: branch.graph for task, branch in self.branches.items()}
        links = [link for link, _ in self.found.values()]
        replaced = {(d.task, d.tap) for d in destinations if d.combine == "replace"}
        everything = constraints.dependencies(graphs, links, replaced)
        if (loop := constraints.cycle(everything)) is not None:
            [link, *_] = constraints.links_on(everything, [*loop, loop[0]]) or links
            raise SpecError(
                self.space.problem(
                    f"the links form a cycle: {constraints.words([*loop, loop[0]])}", "links", link.rule, fix="narrow where:"
                )
            )
        proven = [f"acyclic: {everything.number_of_nodes()} values, {len(links)} links"]
        if self.space.constraints.inference == "all":
            return (*proven, "inference keeps all branches (constraints.inference: all)")
        kept = [link for link, rule in self.found.values() if rule.converges_to != "zero"]
        remaining = constraints.dependencies(graphs, kept, replaced)
        if (path := constraints.path_into(remaining, self.primary)) is not None:
            link = constraints.links_on(remaining, path)[-1]
            raise SpecError(
                self.space.problem(
                    f"an auxiliary would reach the primary at inference: {constraints.words(path)}", "links", link.rule, "converges_to",
                    fix="converges_to: zero, or constraints: {inference: all}",
                )
            )  # fmt: skip
        removed = len(links) - len(kept)
        return (
            *proven,
            f"asymmetric: with the {removed} links that converge to zero removed, no auxiliary value reaches {self.primary}:prediction",
        )


def _selection(rule: LinkRule, sources: Sequence[str], destinations: Sequence[str]) -> Selection:
    where = rule.where
    return Selection(
        tuple(sources), tuple(destinations), where.same_stage, where.max_gap, where.at, where.same_resolution, where.max_links_per_tap
    )


def _resolutions(branch: Branch) -> str:
    """The resolutions of each stage: ``s1 at 16x12, s2 at 8x6``; vectors have none."""
    return ", ".join(
        f"{stage} at {' and '.join(dict.fromkeys('x'.join(map(str, resolution(tap.type))) or 'none' for tap in taps))}"
        for stage, taps in branch.graph.stages.items()
    )


def _name(model: object, field: str) -> str:
    """The registered name of a model, which each of its kind has in a field of its own."""
    return str(getattr(model, field))


def _names(operations: Sequence[object]) -> tuple[str, ...]:
    """Names of a rule's candidates; a second one of a kind gets a number."""
    kinds = [_name(operation, "op") for operation in operations]
    return tuple(kind if kind not in kinds[:i] else f"{kind}_{kinds[:i].count(kind) + 1}" for i, kind in enumerate(kinds))
