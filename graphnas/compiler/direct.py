"""A graph module that finds the modules it calls without asking each on the way for an attribute.

torch generates ``self.branches.normals.layer1(x)`` or ``getattr(self.blocks, "0")(x)``; every dot of those is a call of
``Module.__getattr__``, which looks in three dictionaries. Of the forward of a small network with a node for every block that is one to two
percent. Here it is ``self._modules["branches"]._modules["normals"]._modules["layer1"](x)``: the same modules, which may be replaced at any
time, as ever.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import fx

_CALL = re.compile(r"^(?P<made>\w+) = (?P<path>(?:getattr\()*self(?:\.\w+|, \"[^\"\\]+\"\))+)\(")
_PART = re.compile(r"\.(\w+)|, \"([^\"\\]+)\"\)")


class DirectModule(fx.GraphModule):
    """``fx.GraphModule`` with direct look-ups in the code of its forward, whatever graph it is given."""

    def recompile(self) -> Any:
        """Generate the forward of the graph."""
        self.graph._codegen._body_transformer = _direct  # pyright: ignore[reportPrivateUsage]  # on_generate_code would add one each time
        return super().recompile()


def _direct(body: Sequence[str]) -> list[str]:
    return [_CALL.sub(_looked_up, line) for line in body]


def _looked_up(call: re.Match[str]) -> str:
    path = "".join(f'._modules["{name or quoted}"]' for name, quoted in _PART.findall(call["path"]))
    return f"{call['made']} = self{path}("
