"""Whole runs in a folder: baseline, search, prune, test, save; and going on with them."""

from graphnas.runs.compiling import compile  # the name that the public API has
from graphnas.runs.evaluate import evaluate
from graphnas.runs.predict import Prediction, predict
from graphnas.runs.result import SearchResult
from graphnas.runs.search import prune_run, search

__all__ = ["Prediction", "SearchResult", "compile", "evaluate", "predict", "prune_run", "search"]
