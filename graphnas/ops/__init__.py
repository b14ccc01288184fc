"""Operations of networks and of links: a parameter model, type rule, costs and builder each, one file a family."""

from graphnas.ops.base import LinkModule, LinkOperation, Operation, TypeRuleError

__all__ = ["LinkModule", "LinkOperation", "Operation", "TypeRuleError"]
