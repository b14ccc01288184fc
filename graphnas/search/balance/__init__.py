"""How the losses of the tasks are combined into what the weights descend."""

from graphnas.search.balance.balancer import Balancer, Descent, Setting
from graphnas.search.balance.base import Balance, LinearWeight
from graphnas.search.balance.weighted_sum import WeightedSum

__all__ = ["Balance", "Balancer", "Descent", "LinearWeight", "Setting", "WeightedSum"]
