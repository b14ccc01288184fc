"""Specs and modules -> branches -> one supernet."""

from graphnas.compiler.branch import Branch
from graphnas.compiler.build import build, copied, seed_of, task_branch
from graphnas.compiler.infer import infer
from graphnas.compiler.lower import lower
from graphnas.compiler.supernet import Supernet, penalty, tap_values
from graphnas.compiler.weave import weave

__all__ = ["Branch", "Supernet", "build", "copied", "infer", "lower", "penalty", "seed_of", "tap_values", "task_branch", "weave"]
