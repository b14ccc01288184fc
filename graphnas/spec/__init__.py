"""What a user writes: four kinds of file, and the models that they become."""

from graphnas.spec.document import Document
from graphnas.spec.json_schema import json_schema
from graphnas.spec.loading import KINDS, load_spec, parse_spec
from graphnas.spec.network import NetworkSpec, Parameter, TapSpec
from graphnas.spec.optimizer import Optimizer, Schedule
from graphnas.spec.presets import FOLDERS, preset_summary, presets
from graphnas.spec.search import Every, Finetune, NetworkUse, Optimizers, Runtime, SearchSpec, Select, Training
from graphnas.spec.search_space import Condition, Constraints, FusionSpec, LinkRule, Norm, SearchSpaceSpec
from graphnas.spec.task_pair import InputSpec, Normalization, TaskPairSpec
from graphnas.spec.template import Template
from graphnas.spec.writing import dump_spec, to_yaml

__all__ = [
    "FOLDERS",
    "KINDS",
    "Condition",
    "Constraints",
    "Document",
    "Every",
    "Finetune",
    "FusionSpec",
    "InputSpec",
    "LinkRule",
    "NetworkSpec",
    "NetworkUse",
    "Norm",
    "Normalization",
    "Optimizer",
    "Optimizers",
    "Parameter",
    "Runtime",
    "Schedule",
    "SearchSpaceSpec",
    "SearchSpec",
    "Select",
    "TapSpec",
    "TaskPairSpec",
    "Template",
    "Training",
    "dump_spec",
    "json_schema",
    "load_spec",
    "parse_spec",
    "preset_summary",
    "presets",
    "to_yaml",
]
