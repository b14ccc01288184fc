"""NYUv2 (Silberman et al., ECCV 2012) in the three forms that it is passed around in.

| format | a path is | key | holds |
|---|---|---|---|
| ``authors`` | a folder with a folder a key, files matched by name | ``img`` | PNG, RGB |
| | | ``seg`` | PNG, classes 0 to 39, 255 not labeled |
| | | ``normal_mask`` | PNG, RGB = 127.5 n + 127.5; all 255 and all 127 not labeled |
| | | ``depth`` | npy, metres |
| ``mtan`` | the folder ``train`` or ``val``, likewise | ``image`` | npy (H, W, 3), 1 is white |
| | | ``label`` | npy (H, W), classes 0 to 12, -1 not labeled |
| | | ``depth``, ``normal`` | npy (H, W, 1), metres; npy (H, W, 3), unit vectors, zero not labeled |
| ``official`` | nyu_depth_v2_labeled.mat, for train and test alike | see ``graphnas.data.nyuv2_mat`` | |

``authors`` is what the Aux-NAS authors' code reads, ``mtan`` what the line of MTAN (Liu et al., CVPR 2019) reads.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from graphnas.data.base import FileLayout, Part, Records
from graphnas.data.trees import by_key, find_file, find_folder
from graphnas.schema import FilePath, error_at, refuse

AUTHORS = ("img", "seg", "normal_mask", "depth")
MTAN = ("image", "label", "depth", "normal")
SPLITS = "splits.mat"


class Nyuv2(FileLayout):
    """NYUv2: folders of the Aux-NAS authors, folders of the MTAN line, or the official MATLAB file."""

    layout: Literal["nyuv2"] = "nyuv2"
    format: Literal["authors", "mtan", "official"] = "authors"
    """authors: a folder with img/, seg/, normal_mask/, depth/. mtan: one with image/, label/, depth/, normal/. official: the .mat file."""
    splits: FilePath | None = Field(default=None, examples=["data/nyuv2/splits.mat"])
    """official: which of the 1449 samples are for training (795) and testing (654); splits.mat beside the .mat file, if left out."""
    mapping: FilePath | None = Field(default=None, examples=["data/nyuv2/classMapping40.mat"])
    """official: a file with a class, from 1 on, for each of the 894 names (.mat with mapClass, or .npy); ``label`` then holds class - 1,
    and 255 for none. Left out, it holds the names' numbers, 1 to 894, and 0 for none."""

    @model_validator(mode="after")
    def _of_official(self) -> Nyuv2:
        if self.format != "official":
            refuse(
                error_at((name,), f"{name} belongs to the official file, and the format is {self.format}", "format: official")
                for name in ("splits", "mapping")
                if getattr(self, name) is not None
            )
        return self

    @property
    def group(self) -> str | None:
        return self.validation.group or ("scene" if self.format == "official" else None)

    def find(self, path: str) -> Sequence[str]:
        return [find_file(path)] if self.format == "official" else find_folder(path)

    def check(self, part: Part) -> None:
        [path] = self.find(self._named(part))
        if self.format == "official" and part != "validation":
            find_file(self._splits(path))

    def open(self, part: Part) -> Records:
        path = self._named(part)
        if self.format != "official" or part == "validation":
            return self.open_path(path)
        from graphnas.data.nyuv2_mat import MatRecords, split_indices

        [path] = self.find(path)
        return MatRecords(path, split_indices(find_file(self._splits(path)), part), self.mapping)

    def open_path(self, path: str) -> Records:
        [root] = self.find(path)
        if self.format == "official":
            from graphnas.data.nyuv2_mat import MatRecords

            return MatRecords(root, None, self.mapping)  # a file of the user's own, for validation
        return by_key(root, AUTHORS if self.format == "authors" else MTAN, order=_by_number)

    def _splits(self, path: str) -> str:
        return self.splits or os.path.join(os.path.dirname(path), SPLITS)


def _by_number(stem: str) -> tuple[int, str]:
    """The MTAN line counts 0, 1, ... 10 without zeros in front."""
    return (int(stem) if stem.isdecimal() else -1, stem)
