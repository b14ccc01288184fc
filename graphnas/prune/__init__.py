"""Rewrites that remove links and branches, and the proof of what is left."""

from graphnas.prune.certificate import Certificate, weights_sha256
from graphnas.prune.kept import Kept
from graphnas.prune.live import links_at_zero, run_without
from graphnas.prune.prune import Pruned, changed_at_inference, cut_view, links_to_cut, prune, standing, unconverged

__all__ = [
    "Certificate", "Kept", "Pruned", "changed_at_inference", "cut_view", "links_at_zero", "links_to_cut", "prune", "run_without",
    "standing", "unconverged", "weights_sha256",
]  # fmt: skip
