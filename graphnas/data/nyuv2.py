"""NYUv2 in the layout of the Aux-NAS authors: a folder a key, files matched by name.

| folder | holds |
|---|---|
| ``img/`` | PNG, RGB |
| ``seg/`` | PNG, classes 0 to 39, 255 not labeled |
| ``normal_mask/`` | PNG, RGB = 127.5 n + 127.5; all 255 and all 127 not labeled |
| ``depth/`` | npy, metres |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from graphnas.data.base import FileLayout, Records
from graphnas.data.folders import FolderRecords, find_folder

FOLDERS = ("img", "seg", "normal_mask", "depth")


class Nyuv2(FileLayout):
    """NYUv2 in the layout of the Aux-NAS authors; a path is a folder that holds img/, seg/, normal_mask/ and depth/."""

    layout: Literal["nyuv2"] = "nyuv2"

    def find(self, path: str) -> Sequence[str]:
        return find_folder(path)

    def open_path(self, path: str) -> Records:
        [root] = self.find(path)
        return FolderRecords(root, FOLDERS)
