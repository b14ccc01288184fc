"""A contact sheet: images with their decoded labels beside them, for a person to check with one look.

| label | drawn as |
|---|---|
| classes | a color each, as said below the sheet; black where not labeled |
| boundaries | white on gray; black where not labeled |
| normals | (n + 1) / 2 as red, green, blue: right is red, up is green, to the viewer is blue |
| depth, disparity, numbers | from violet (least of the image) to yellow (most), which are said above; black where not labeled |
| of whole samples | words or numbers |
"""

from __future__ import annotations

import colorsys
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from graphnas.data.base import Records
from graphnas.data.checking import labeled_mask
from graphnas.data.files import image_tensor, label_array
from graphnas.data.sources import PARTS, Sources
from graphnas.errors import DataError
from graphnas.spec import TaskPairSpec
from graphnas.tasks.base import TaskType

TILE = 192  # pixels of a tile's longer side
LINE = 14  # of a line of text
CHARACTER = 7  # at most
GOLDEN = (math.sqrt(5) - 1) / 2
RAMP = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], np.float32)  # dark to bright, also in gray
Pixels = NDArray[np.uint8]


def preview(task_pair: TaskPairSpec, *, samples: int = 6) -> Image.Image:
    """A row for each of some samples, spread evenly over those of training; a column for each input and task.

    Raises:
        DataError: The training samples can't be opened.
    """
    tasks = {name: cast("TaskType", task) for name, task in task_pair.tasks.items()}
    sources = Sources(task_pair, tasks, {})
    sources.open(PARTS[0])
    sources.refuse()
    every = [(source, records, index) for (source, _), records in sources.records.items() for index in range(len(records.ids))]
    rows = min(samples, len(every))
    chosen = [every[round(place * (len(every) - 1) / max(1, rows - 1))] for place in range(rows)]
    keys = {name: spec.key for name, spec in task_pair.inputs.items()} | {name: task.key for name, task in tasks.items()}
    shown = [
        (f"{source}/{records.ids[index]}", [_tile(records, index, keys[name], tasks.get(name)) for name in keys])
        for source, records, index in chosen
    ]
    return _sheet(list(keys), shown, tasks)


def drawn(task: TaskType, target: Tensor) -> Pixels:
    """A decoded label with pixels as a picture: (H, W, 3)."""
    mask = labeled_mask(task, target)
    labeled: NDArray[np.bool_] = (mask.all(dim=0) if mask.ndim == 3 else mask).numpy()
    values = target.numpy()
    if task.target_kind == "ids":
        colors = np.array([_color(number) for number in range(task.out_channels + 1)], np.uint8)
        picture = colors[np.where(labeled, values, 0).astype(np.int64)]
    elif task.target_kind == "boundary":
        picture = np.where(values == 1, 255, 96).astype(np.uint8)[:, :, None].repeat(3, axis=2)
    elif task.target_kind == "normal":
        picture = ((values.transpose(1, 2, 0) + 1) * 127.5).round().astype(np.uint8)
    else:
        picture = _ramp(np.where(labeled, np.nan_to_num(values[0]), 0), labeled)
    return np.where(labeled[:, :, None], picture, 0).astype(np.uint8)


def _color(number: int) -> tuple[int, int, int]:
    """Far from those of the numbers near it."""
    red, green, blue = colorsys.hsv_to_rgb(number * GOLDEN % 1, 0.55 + 0.4 * (number % 3) / 2, 0.95 - 0.35 * (number // 3 % 2))
    return round(255 * red), round(255 * green), round(255 * blue)


def _ramp(values: NDArray[np.float32], labeled: NDArray[np.bool_]) -> Pixels:
    known = values[labeled]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    place = (values - low) / max(high - low, 1e-12) * (len(RAMP) - 1)
    steps = np.arange(len(RAMP))
    channels = [np.interp(place, steps, RAMP[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=2).round().astype(np.uint8)


@dataclass(frozen=True)
class _Tile:
    """A picture, and what is said above it."""

    picture: Image.Image
    caption: str = ""


def _tile(records: Records, index: int, key: str, task: TaskType | None) -> _Tile:
    if key not in records.keys(index):
        return _words("none")
    try:
        file, value = records.file(index, key), records.read(index, key)
        if task is None:
            image = image_tensor(value, file=file)
            pixels = image.numpy() if image.dtype.itemsize == 1 else (image.clamp(0, 1) * 255).round().numpy().astype(np.uint8)
            return _Tile(_fitted(pixels.transpose(1, 2, 0)))
        target = task.decode(label_array(value, file=file), file=file)
    except DataError as error:
        return _words(error.problems[0].message)
    return _words(said(task, target)) if task.per_sample else _Tile(_fitted(drawn(task, target)), captioned(task, target))


def captioned(task: TaskType, target: Tensor) -> str:
    """The numbers that the darkest and the brightest color stand for."""
    if task.target_kind in ("ids", "boundary", "normal"):
        return ""
    known = target[0][labeled_mask(task, target)[0]]
    unit = {"depth": " m", "pixel_disparity": " pixels"}.get(task.target_kind, "")
    return f"{float(known.min()):.3g} to {float(known.max()):.3g}{unit}" if known.numel() else "nothing labeled"


def said(task: TaskType, target: Tensor) -> str:
    """The label of a whole sample in words."""
    names: Sequence[str] = getattr(task, "names", ()) or tuple(map(str, range(task.out_channels)))
    if getattr(task, "multi_label", False):
        return ", ".join(name for name, mark in zip(names, target.numpy(), strict=True) if mark == 1) or "(none of them)"
    if target.ndim == 0 and not target.is_floating_point():
        number = int(target)
        return names[number] if 0 <= number < len(names) else "none"
    values = target.flatten().numpy()
    if len(values) == len(names) > 1:
        return ", ".join(f"{names[place]} {values[place]:.2f}" for place in np.argsort(-values)[:5])
    return ", ".join(f"{value:.4g}" for value in values[:8])


def _fitted(pixels: Pixels) -> Image.Image:
    height, width = pixels.shape[:2]
    factor = TILE / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.NEAREST)


def _words(text: str) -> _Tile:
    tile = Image.new("RGB", (TILE, TILE * 3 // 4), "white")
    lines = textwrap.wrap(text, TILE // CHARACTER)[: TILE * 3 // 4 // LINE]
    ImageDraw.Draw(tile).text((4, 4), "\n".join(lines), fill="black")
    return _Tile(tile)


def _sheet(names: Sequence[str], rows: Sequence[tuple[str, Sequence[_Tile]]], tasks: Mapping[str, TaskType]) -> Image.Image:
    heights = [max(tile.picture.height for tile in tiles) + LINE for _, tiles in rows]
    width = len(names) * (TILE + 4)
    below = [line for name, task in tasks.items() if task.target_kind == "ids" for line in legend(name, task, width)]
    sheet = Image.new("RGB", (width, LINE + 2 + sum(heights) + len(below) * LINE), "white")
    draw = ImageDraw.Draw(sheet)
    for column, name in enumerate(names):
        draw.text((column * (TILE + 4), 0), name, fill="black")
    top = LINE + 2
    for (name, tiles), height in zip(rows, heights, strict=True):
        for column, tile in enumerate(tiles):
            draw.text((column * (TILE + 4), top), tile.caption if column else name, fill="black")
            sheet.paste(tile.picture, (column * (TILE + 4), top + LINE))
        top += height
    for line in below:
        left = 0
        for text, color in line:
            if color is not None:
                draw.rectangle((left, top + 2, left + LINE - 4, top + LINE - 2), fill=color)
                left += LINE
            draw.text((left, top), text, fill="black")
            left += len(text) * CHARACTER + LINE
        top += LINE
    return sheet


def legend(name: str, task: TaskType, width: int) -> list[list[tuple[str, tuple[int, int, int] | None]]]:
    """Lines of classes and their colors, not wider than the sheet."""
    classes: Sequence[str] = getattr(task, "names", ()) or tuple(map(str, range(max(task.out_channels, 2))))
    classes = ("none", *classes) if len(classes) == 1 else classes
    lines: list[list[tuple[str, tuple[int, int, int] | None]]] = [[(f"{name}:", None)]]
    for number, text in enumerate(classes):
        used = sum(len(each) * CHARACTER + 2 * LINE for each, _ in lines[-1])
        if used + len(text) * CHARACTER + 2 * LINE > width:
            lines.append([])
        lines[-1].append((text, _color(number)))
    return lines
