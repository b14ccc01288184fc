"""Many runs side by side: methods x seeds x settings, each against the single task, with paired statistics."""

from graphnas.compare.methods import SINGLE, Method, read_methods
from graphnas.compare.plan import Plan, make_plan, read_vary
from graphnas.compare.results import Comparison
from graphnas.compare.running import compare, read, read_plan

__all__ = ["SINGLE", "Comparison", "Method", "Plan", "compare", "make_plan", "read", "read_methods", "read_plan", "read_vary"]
