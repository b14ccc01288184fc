"""Search spaces: rules that contradict themselves, fusions, and what would stay in the primary."""

from __future__ import annotations

import pytest
from hypothesis import given

from graphnas.spec import FusionSpec, SearchSpaceSpec, load_spec, parse_spec
from graphnas.spec.search_space import Condition
from tests.spec.conftest import Refused, Write
from tests.strategies import Data, search_spaces

A2P = "direction: auxiliary -> primary, operations: [conv1x1], converges_to: zero"
P2A = "direction: primary -> auxiliary, operations: [conv1x1], converges_to: free"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("direction: auxiliary -> primery, operations: [conv1x1], converges_to: zero",
         "17: links[0].direction: unknown role 'primery'\n  fix: did you mean 'primary'?"),
        ("direction: auxiliary <- primary, operations: [conv1x1], converges_to: zero",
         "17: links[0].direction: expected SOURCE -> DESTINATION, got 'auxiliary <- primary'\n  fix: auxiliary -> primary"),
        ("direction: a -> b -> c, operations: [conv1x1], converges_to: zero",
         "17: links[0].direction: expected SOURCE -> DESTINATION, got 'a -> b -> c'\n  fix: auxiliary -> primary"),
        ("direction: primary->primary, operations: [conv1x1], converges_to: zero",
         "17: links[0].direction: a link joins two tasks, got 'primary->primary'\n  fix: auxiliary -> primary"),
        (f"{A2P}, where: {{max_gap: -1, at: end}}", "99: links[0].where.max_gap: must be 0 or more, got -1\n  fix: max_gap: 0\n"
         "x.yaml:3:107: links[0].where.at: unknown value 'end'\n  fix: one of every, stage_end"),
        ("direction: primary -> seg, operations: [], converges_to: free", "45: links[0].operations: expected at least 1, got none"),
        ("direction: primary -> seg, operations: conv1x1, converges_to: free",
         "45: links[0].operations: expected a list, got text 'conv1x1'\n  fix: operations: [...]"),
        ("direction: primary -> seg, operations: [conv1x2, {op: conv1x1, inital: 1}, 3], converges_to: free",
         "46: links[0].operations[0]: unknown link operation 'conv1x2'\n  fix: did you mean 'conv1x1'?\n"
         "x.yaml:3:69: links[0].operations[1].inital: unknown field 'inital'\n  fix: did you mean 'initial'?\n"
         "x.yaml:3:81: links[0].operations[2]: expected a link operation, got 3\n  fix: write a name, or {op: NAME, ...}"),
        (f"{A2P}, gate: {{initial: 1}}", "98: links[0].gate.initial: must be less than 1, got 1"),
        (f"{A2P}, penalty: l2", "91: links[0].penalty: unknown penalty 'l2'\n  fix: one of entropy, l1, proximal"),
        (f"{A2P}, penalty: proximal", "91: links[0].penalty: a proximal penalty needs gates that can be exactly 0, sigmoid can't\n"
                                      "  fix: gate: {function: projected01}"),
        (f"{A2P}, penalty: {{type: l1, ramp: [0.8, 0.5]}}",
         "91: links[0].penalty: ramp ends at 0.5 before it starts at 0.8\n  fix: ramp: [START, END], shares of training"),
        ("direction: primary -> seg, operations: [conv1x1]", "5: links[0]: missing field 'converges_to'\n  fix: converges_to: zero"),
        (f"{A2P}, converge_to: zero", "82: links[0].converge_to: unknown field 'converge_to'\n  fix: did you mean 'converges_to'?"),
        ("direction: primary -> seg, operations: [conv1x1, none], converges_to: zero, combine: replace, gate: fixed, penalty: l1",
         "45: links[0].operations: replace takes one operation, got 2\n  fix: keep one\n"
         "x.yaml:3:76: links[0].converges_to: replace has no gates that could converge to zero\n  fix: converges_to: free\n"
         "x.yaml:3:106: links[0].gate: replace has no gates\n  fix: leave gate out\n"
         "x.yaml:3:122: links[0].penalty: replace has no gates to penalize\n  fix: leave penalty out"),
        ("direction: auxiliary -> primary, operations: [conv1x1], converges_to: free",
         "76: links[0].converges_to: auxiliary -> primary converges to free, and would stay in the primary\n"
         "  fix: converges_to: zero, or constraints: {inference: all}"),
        ("direction: primary -> seg, operations: [conv1x1], converges_to: zero, gate: fixed",
         "70: links[0].converges_to: gates that are fixed at 1 never are zero\n  fix: converges_to: free, or a gate that is searched"),
        ("direction: primary -> seg, operations: [conv1x1], converges_to: binary, gate: {function: fixed, initial: 0.5}",
         "70: links[0].converges_to: gates that are fixed at 0.5 never are 0 or 1\n  fix: converges_to: free, or a gate that is searched"),
        ("direction: primary -> seg, operations: [conv1x1], converges_to: binary, gate: clamp11, penalty: entropy",
         "70: links[0].converges_to: gates of clamp11 may end at -1\n  fix: gate: {function: clamp01}\n"
         "x.yaml:3:102: links[0].penalty: entropy is that of a probability, and gates of clamp11 may be negative\n"
         "  fix: gate: {function: clamp01}"),
        ("direction: primary -> seg, operations: [conv1x1, identity], converges_to: zero, gate: gumbel",
         "80: links[0].converges_to: gates of gumbel add up to 1, so a link without the candidate none never is gone\n"
         "  fix: operations: [..., none]"),
        ("direction: primary -> seg, operations: [conv1x1], converges_to: free, gate: fixed, penalty: l1",
         "98: links[0].penalty: no penalty can move gates that are fixed\n  fix: leave penalty out, or of: contribution"),
        ("direction: primary -> seg, operations: [conv1x1], converges_to: free, gate: {function: projected01, train_with: weights}",
         "118: links[0].gate.train_with: projected01 is put back into [0, 1] after the steps of the alphas, and these gates are trained"
         " with the weights\n  fix: train_with: alphas, or function: clamp01"),
        ("direction: primary -> seg, operations: [conv1x1], converges_to: binary, combine: mix",
         "70: links[0].converges_to: the gates of mix share 1 with the destination's own value, so they don't converge to 0 or 1 each\n"
         "  fix: converges_to: free, or combine: add"),
        (f"{A2P}, where: {{random: 0}}", "98: links[0].where.random: must be more than 0, got 0"),
        (f"{A2P}, where: {{random: {{fraction: 1.5}}}}",
         "109: links[0].where.random.fraction: must be 1 or less, got 1.5\n  fix: fraction: 1"),
        (f"{A2P}, gate: {{function: gumbel, temperature: {{end: 1}}}}",
         "120: links[0].gate.temperature: missing field 'start'\n  fix: start: 1"),
        ("direction: any -> any, operations: [conv1x1], converges_to: free",
         "66: links[0].converges_to: any -> any converges to free, and would stay in the primary\n"
         "  fix: converges_to: zero, or constraints: {inference: all}"),
        (f"{A2P}, max_links: 0", "93: links[0].max_links: must be 1 or more, got 0\n  fix: max_links: 1"),
        (f"{A2P}, tolerance: .inf", "93: links[0].tolerance: .inf is not a finite number\n  fix: a finite number, or text in quotes"),
    ],
)  # fmt: skip
def test_a_wrong_rule(rule: str, message: str, refused: Refused) -> None:
    assert refused(f"kind: search_space\nlinks:\n  - {{{rule}}}\n") == f"x.yaml:3:{message}"


@pytest.mark.parametrize(
    ("fusion", "message"),
    [
        ("{norm: batch_norm, activation: relu}",
         "16: fusion.norm: this norm acts on the primary's own value and would stay after the links are cut\n"
         "  fix: on: links, or constraints: {inference: primary+fusion}\n"
         "x.yaml:3:40: fusion.activation: this activation acts on the primary's own value and would stay after the links are cut\n"
         "  fix: on: links, or constraints: {inference: primary+fusion}"),
        ("{primary: {norm: {type: layer_norm}}}",
         "26: fusion.primary.norm: this norm acts on the primary's own value and would stay after the links are cut\n"
         "  fix: on: links, or constraints: {inference: primary+fusion}"),
        ("{self: {op: conv1x1, initial: 0.9}}",
         "16: fusion.self: this operation acts on the primary's own value and would stay after the links are cut\n"
         "  fix: fusion: {auxiliary: {self: ...}}, or constraints: {inference: primary+fusion}"),
        ("{primary: {self: scale, norm: batch_norm, on: links}}",
         "26: fusion.primary.self: this operation acts on the primary's own value and would stay after the links are cut\n"
         "  fix: fusion: {auxiliary: {self: ...}}, or constraints: {inference: primary+fusion}"),
        ("{auxiliary: {self: scale, combine: replace}}",
         "28: fusion.auxiliary.self: replace drops the destination's own value\n  fix: leave self out"),
        ("{auxiliary: {self: none}}",
         "28: fusion.auxiliary.self: none would drop the destination's own value\n  fix: combine: replace, or leave self out"),
        ("{auxiliary: {self: {op: conv1x2}}}",
         "33: fusion.auxiliary.self.op: unknown link operation 'conv1x2'\n  fix: did you mean 'conv1x1'?"),
        ("{auxiliary: {slef: scale}}", "22: fusion.auxiliary.slef: unknown field 'slef'\n  fix: did you mean 'self'?"),
        ("{combine: sum}", "19: fusion.combine: unknown value 'sum'\n  fix: one of add, mix, replace"),
        ("{norm: batch}", "16: fusion.norm: unknown value 'batch'\n  fix: did you mean 'batch_norm'?"),
        ("{norm: {type: batch_norm, eps: 0}}", "40: fusion.norm.eps: must be more than 0, got 0"),
        ("relu", "9: fusion: expected a fusion, or one for each role or task, got text 'relu'\n  fix: {combine: add}"),
        ("{primary: {combine: add, nrom: none}}", "34: fusion.primary.nrom: unknown field 'nrom'\n  fix: did you mean 'norm'?"),
        ("{activaton: relu}", "10: fusion.activaton: unknown field 'activaton'\n  fix: did you mean 'activation'?"),
    ],
)  # fmt: skip
def test_a_wrong_fusion(fusion: str, message: str, refused: Refused) -> None:
    assert refused(f"kind: search_space\nlinks: [{{{A2P}}}]\nfusion: {fusion}\n") == f"x.yaml:3:{message}"


@pytest.mark.parametrize(
    "rest",
    [
        "fusion: {norm: batch_norm, on: links}",
        "fusion: {norm: batch_norm, activation: relu}\nconstraints: {inference: primary+fusion}",
        "fusion: {norm: batch_norm}\nconstraints: {inference: all}",
        "fusion: {auxiliary: {norm: batch_norm, activation: relu}}",
        "fusion: {auxiliary: {self: {op: conv1x1, initial: 0.9}}}",
        "fusion: {self: scale}\nconstraints: {inference: primary+fusion}",
    ],
)
def test_norms_that_may_be(rest: str, write: Write) -> None:
    write("x.yaml", f"kind: search_space\nlinks: [{{{A2P}}}]\n{rest}\n")
    assert isinstance(load_spec("x.yaml"), SearchSpaceSpec)


def test_a_norm_may_stay_where_no_link_enters_the_primary() -> None:
    space = parse_spec({"kind": "search_space", "links": [], "fusion": {"norm": "batch_norm"}})
    assert space.fusion.norm.type == "batch_norm"


def test_replace_may_be_the_fusions_word_too(refused: Refused) -> None:
    text = f"kind: search_space\nlinks:\n  - {{{P2A}, penalty: l1}}\nfusion: {{auxiliary: {{combine: replace}}}}\n"
    assert refused(text) == "x.yaml:3:91: links[0].penalty: replace has no gates to penalize\n  fix: leave penalty out"


def test_the_fusion_of_a_task_is_its_own_else_its_roles() -> None:
    fusion = {"auxiliary": {"combine": "mix"}, "depth": {"activation": "relu"}}
    space = parse_spec({"kind": "search_space", "links": [], "fusion": fusion})
    assert [space.fusion_of(task, "normals") for task in ("normals", "seg", "depth")] == [
        FusionSpec(),
        FusionSpec(combine="mix"),
        FusionSpec(activation="relu"),
    ]
    assert load_spec("aux-nas").fusion_of("seg", "normals") == FusionSpec()


@pytest.mark.parametrize(
    ("links", "fusion", "messages"),
    [
        ([f"{{{A2P}}}"], "{}", []),
        ([f"{{{P2A}}}".replace("auxiliary", "sge")], "{}",
         ["x.yaml:2:21: links[0].direction: unknown role or task 'sge'\n  fix: did you mean 'seg'?"]),
        ([f"{{{P2A}}}", f"{{{P2A}}}".replace("primary", "seg").replace("auxiliary", "normals")], "{}",
         ["x.yaml:2:152: links[1].converges_to: seg -> normals converges to free, and would stay in the primary\n"
          "  fix: converges_to: zero, or constraints: {inference: all}"]),
        ([f"{{{A2P}}}"], "{normals: {norm: batch_norm}, dpeth: {}}",
         ["x.yaml:3:46: fusion.dpeth: unknown role or task 'dpeth'\n  fix: did you mean 'depth'?",
          "x.yaml:3:26: fusion.normals.norm: this norm acts on the primary's own value and would stay after the links are cut\n"
          "  fix: on: links, or constraints: {inference: primary+fusion}"]),
    ],
)  # fmt: skip
def test_against_the_tasks(links: list[str], fusion: str, messages: list[str], write: Write) -> None:
    write("x.yaml", f"kind: search_space\nlinks: [{', '.join(links)}]\nfusion: {fusion}\n")
    space = load_spec("x.yaml")
    assert [str(problem) for problem in space.problems_with("normals", ["normals", "seg", "depth"])] == messages


@given(search_spaces())
def test_the_asymmetry_holds_in_every_space_that_loads(data: Data) -> None:
    space = parse_spec(data)
    if space.constraints.inference == "primary":
        for rule in space.links:
            assert rule.destination not in ("primary", "any") or rule.converges_to == "zero"


def test_the_published_space() -> None:
    a2p, p2a = load_spec("aux-nas").links
    assert (a2p.where.same_stage, a2p.where.max_gap, a2p.where.at) == (True, 2, "every")
    assert a2p.where == p2a.where == Condition(max_gap=2)
    assert (a2p.operations, p2a.operations) == (load_spec("aux-nas-proximal").links[0].operations,) * 2
    assert (a2p.gate.function, a2p.gate.initial, p2a.gate.initial) == ("sigmoid", 0.001, 0.5)
    assert (a2p.penalty.type, a2p.penalty.of, a2p.penalty.strength, a2p.penalty.ramp, p2a.penalty) == ("l1", "gate", 1000, (0.5, 0.8), None)
    assert (a2p.converges_to, p2a.converges_to) == ("zero", "free")


def test_the_other_shipped_spaces() -> None:
    spaces = {
        name: load_spec(name) for name in ("aux-nas-mix", "aux-nas-proximal", "aux-g-layer", "aux-g-stage", "aux-head", "single-task")
    }
    assert spaces["single-task"].links == ()
    assert [(rule.combine, rule.converges_to) for rule in spaces["aux-nas-mix"].links] == [(None, "zero"), ("mix", "free")]
    assert (spaces["aux-nas-mix"].links[1].gate.initial, spaces["aux-nas-mix"].links[1].operations[0].initial) == (0.95, 1)
    assert (spaces["aux-nas-proximal"].links[0].gate.function, spaces["aux-nas-proximal"].links[0].penalty.type) == (
        "projected01",
        "proximal",
    )
    for name, at in (("aux-g-layer", "every"), ("aux-g-stage", "stage_end")):
        [rule] = spaces[name].links
        assert (rule.source, rule.destination, rule.where.at, rule.gate.function, rule.gate.initial) == (
            "primary",
            "auxiliary",
            at,
            "fixed",
            1,
        )
    [rule] = spaces["aux-head"].links
    assert (rule.source, rule.combine, rule.where.at) == ("primary", "replace", "stage_end")


def test_the_multi_task_architectures_keep_their_links() -> None:
    spaces = {name: load_spec(name) for name in ("nddr", "cross-stitch", "mtl-nas")}
    assert {name: (found.constraints.inference, found.links[0].direction) for name, found in spaces.items()} == dict.fromkeys(
        spaces, ("all", "any -> any")
    )
    nddr, stitch, nas = spaces.values()
    assert [(found.fusion.own.op, found.fusion.own.initial, found.links[0].operations[0].initial) for found in spaces.values()] == [
        ("conv1x1", 0.9, 0.1),
        ("scale", 0.9, 0.1),
        ("conv1x1", 1, 0),
    ]
    assert [(found.fusion.norm.type, found.fusion.activation) for found in (nddr, stitch, nas)] == [
        ("batch_norm", "relu"),
        ("none", "none"),
        ("batch_norm", "relu"),
    ]
    [rule] = nas.links
    assert (rule.gate.temperature.start, rule.gate.temperature.end, rule.penalty.type, rule.converges_to) == (1, 0.1, "entropy", "binary")


def test_the_variants_and_controls_of_the_published_space() -> None:
    a2p, p2a = load_spec("aux-nas-clamp").links
    assert (a2p.gate.function, p2a.gate.function, a2p.penalty, a2p.where) == (
        "clamp01",
        "clamp11",
        load_spec("aux-nas").links[0].penalty,
        Condition(max_gap=2),
    )
    a2p, p2a = load_spec("aux-nas-binary").links
    assert a2p == load_spec("aux-nas").links[0]
    assert (p2a.penalty.type, p2a.penalty.strength, p2a.penalty.ramp, p2a.converges_to) == ("entropy", 10, (0.2, 0.5), "binary")
    [everything], [some] = load_spec("aux-nas-all").links, load_spec("aux-nas-random").links
    assert (everything.direction, everything.gate.function, everything.gate.initial) == ("primary -> auxiliary", "fixed", 1)
    assert (some.where.random.fraction, some.where.random.seed, everything.where.random) == (0.5, 0, None)
