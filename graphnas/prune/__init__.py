"""Rewrites that remove links and branches, and the proof of what is left."""

from graphnas.prune.certificate import Certificate, weights_sha256
from graphnas.prune.prune import Pruned, cut_view, links_to_cut, prune, unconverged

__all__ = ["Certificate", "Pruned", "cut_view", "links_to_cut", "prune", "unconverged", "weights_sha256"]
