"""``graphnas compile SPEC``: check a spec, prove what it promises, say what it costs; nothing is trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from graphnas.cli.options import common, json_output, overrides
from graphnas.errors import GraphNASError, Where

if TYPE_CHECKING:
    from graphnas.cli.summary import Summary
    from graphnas.compiler import Supernet
    from graphnas.spec import FusionSpec, NetworkSpec, SearchSpaceSpec, SearchSpec, TaskPairSpec

DRAWINGS = (".svg", ".mmd")


@click.command("compile", short_help="Check a spec, prove what it promises, and say what it costs.")
@click.argument("spec")
@click.option("--graph", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Draw the supernet: FILE.svg or FILE.mmd.")
@click.option("--verbose", "-v", is_flag=True, help="Print the typed graph of every branch.")
@overrides
@json_output
@common
def command(spec: str, graph: Path | None, verbose: bool, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check SPEC and everything it names; print branches, links, what is proven, and costs.

    SPEC is a file, or the name of one that comes with graphnas. A search is compiled in full. A network, a search space or a task pair is
    checked as far as it goes by itself.
    """
    from graphnas.spec import SearchSpec, load_spec

    if graph is not None and graph.suffix not in DRAWINGS:
        raise GraphNASError(f"can't draw {graph.name!r}", where=Where("--graph"), fix="a name that ends in .svg or .mmd")
    loaded = load_spec(spec, overrides=overrides)
    if isinstance(loaded, SearchSpec):
        _search(loaded, graph, verbose=verbose, as_json=as_json)
    elif graph is not None:
        raise GraphNASError(f"a {loaded.kind} has no links to draw", where=Where("--graph"), fix="give a search")
    else:
        _other(loaded, as_json=as_json)


def _search(spec: SearchSpec, graph: Path | None, *, verbose: bool, as_json: bool) -> None:
    from graphnas.cli.summary import summarize
    from graphnas.cli.terminal import show_json
    from graphnas.runs import compile as compile_spec

    net = compile_spec(spec)
    if graph is not None:
        draw(net, graph)
    summary = summarize(spec, net)
    if as_json:
        show_json(summary.as_json())
        return
    if verbose:
        _print_graphs(net)
    _print(summary)


def draw(net: Supernet, file: Path) -> None:
    """Draw a supernet into a file, as SVG or Mermaid by its suffix."""
    from graphnas.cli.mermaid import mermaid
    from graphnas.cli.picture import picture
    from graphnas.cli.svg import svg
    from graphnas.cli.terminal import short

    vanishing = [index for index, rule in enumerate(net.space.links) if rule.converges_to == "zero"]
    graphs = {task: branch.graph for task, branch in net.recorded.items()}
    captions = {task: f"{short(branch.graph.parameters)} parameters, {short(branch.macs)} MACs" for task, branch in net.recorded.items()}
    drawn = picture(graphs, captions, net.links, net.primary, vanishing, _notes(net))
    file.write_text(svg(drawn) if file.suffix == ".svg" else mermaid(drawn), encoding="utf-8")


def _notes(net: Supernet) -> list[str]:
    """What the destinations of links do with their own value and with what arrives, a line for those that do the same."""
    tasks: dict[str, list[str]] = {}
    for task in net.tasks:
        combines = {destination.combine for destination in net.plan.destinations if destination.task == task}
        for line in (_fused(combine, net.space.fusion_of(task, net.primary)) for combine in sorted(combines)):
            tasks.setdefault(line, []).append(task)
    return [f"{', '.join(found)}: {line}" for line, found in tasks.items()]


def _fused(combine: str, fusion: FusionSpec) -> str:
    from graphnas.spec.link_checks import name_of

    if combine == "replace":
        return "what arrives takes the place of the own value"
    own = "the own value" if fusion.own is None else f"{name_of(fusion.own, 'op')} of the own value"
    sum_ = f"{own} and what arrives, {'added' if combine == 'add' else 'mixed by shares of 1'}"
    after = [name for name in (fusion.norm.type, fusion.activation) if name != "none"]
    if not after:
        return sum_
    return f"{sum_}; {' and '.join(after)} of {'the sum' if fusion.on == 'sum' else 'what arrives'}"


def _print_graphs(net: Supernet) -> None:
    from graphnas.graph.text import format_graph, format_links

    for task, branch in net.recorded.items():
        click.echo(f"{task}:\n{format_graph(branch.graph)}")
    click.echo(f"links:\n{format_links(net.links)}")


def _print(summary: Summary) -> None:
    from graphnas.cli.terminal import short, show, table

    cost = summary.training
    show(
        table(
            "branches",
            ("task", "role", "nodes", "taps", "parameters", "MACs"),
            [(row.task, row.role, row.nodes, row.taps, row.parameters, row.macs) for row in summary.branches],
            right=("nodes", "taps", "parameters", "MACs"),
        ),
        table(
            "links",
            ("rule", "direction", "links", "operations", "parameters", "converges to"),
            [
                (f"links[{row.rule}]", row.direction, row.links, ", ".join(row.operations), row.parameters, row.converges_to)
                for row in summary.rules
            ],
            right=("links", "parameters"),
        ),
        "proven\n" + "\n".join(f"  {statement}" for statement in summary.proven),
        *_weights(summary),
        f"training, estimated: {cost.relative:.2f} x that of {summary.primary} alone, on as many batches with its labels\n"
        f"  a batch of the supernet: {short(cost.supernet_macs)} MACs x {cost.supernet_samples} samples x {cost.supernet_passes:g} passes\n"
        f"  a batch of {summary.primary} alone: {short(cost.primary_macs)} MACs x {cost.primary_samples} samples x 3 passes\n"
        "  a backward pass counts as two, in an alpha step as one",
        f"inference: {summary.inference_macs:,} MACs for one sample, {summary.inference_parameters:,} parameters",
    )


def _weights(summary: Summary) -> list[str]:
    """What the networks start from, if any starts from weights."""
    lines = [f"  {task}: {line}" for task, said in summary.weights.items() for line in said]
    return ["weights\n" + "\n".join(lines)] if lines else []


def _other(spec: NetworkSpec | SearchSpaceSpec | TaskPairSpec, *, as_json: bool) -> None:
    from graphnas.cli.terminal import show, show_json

    facts = _facts(spec)
    if as_json:
        show_json({"kind": spec.kind, **facts})
    else:
        lines = [f"{name}: {value if isinstance(value, int | str) else '; '.join(value) or 'none'}" for name, value in facts.items()]
        show(f"this {spec.kind} is correct\n" + "\n".join(f"  {line}" for line in lines))


def _facts(spec: NetworkSpec | SearchSpaceSpec | TaskPairSpec) -> dict[str, int | str | list[str]]:
    """What there is to say about a spec that is not a search."""
    from graphnas.spec import NetworkSpec, SearchSpaceSpec

    if isinstance(spec, NetworkSpec):
        return {
            "inputs": [f"{name}: {written}" for name, written in spec.inputs.items()],
            "parameters": list(spec.parameters),
            "nodes": len(spec.nodes),
            "outputs": list(spec.outputs),
            "stages": spec.taps if isinstance(spec.taps, str) else list(spec.taps),
        }
    if isinstance(spec, SearchSpaceSpec):
        return {
            "links": [f"{rule.source} -> {rule.destination}, converges to {rule.converges_to}" for rule in spec.links],
            "inference": spec.constraints.inference,
        }
    return {"primary": spec.primary, "tasks": list(spec.tasks), "sources": list(spec.sources), "inputs": list(spec.inputs)}
