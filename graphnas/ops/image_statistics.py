"""What libraries say about the images that their published weights expect -> mean and deviation of RGB images where 1 is white."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from graphnas.ops.base import Statistics

WHITE = 255.0


def of_processor(said: Mapping[str, Any]) -> Statistics | None:
    """Of an image processor of transformers, by its description (``preprocessor_config.json``); ``None`` if it says nothing.

    It makes (``rescale_factor`` x - mean) / std of bytes x, the first with ``do_rescale``, the others with ``do_normalize``. What
    else a few do to colors (``do_flip_channel_order``, ``rescale_offset``) is not put into these numbers: nothing is known of them.
    """
    defaults = _defaults(said.get("image_processor_type"))
    fields = {**defaults, **{name: value for name, value in said.items() if value is not None}}
    if fields.get("do_flip_channel_order") or fields.get("rescale_offset"):
        return None
    white = WHITE * fields.get("rescale_factor", 1 / WHITE) if fields.get("do_rescale", True) else WHITE
    if not fields.get("do_normalize", True):
        return _scaled((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), white)
    return _scaled(fields.get("image_mean"), fields.get("image_std"), white)


def of_encoder(said: Mapping[str, Any]) -> Statistics | None:
    """Of an encoder of segmentation_models_pytorch, by what its repository says (as the library's ``get_preprocessing_params``).

    Where 255 is white to it, the numbers are of bytes; where it reads BGR, no normalization of RGB images does the same.
    """
    if said.get("input_space", "RGB") != "RGB":
        return None
    return _scaled(said.get("mean"), said.get("std"), float(said.get("input_range", (0, 1))[1]))


def _scaled(mean: Any, std: Any, white: float) -> Statistics | None:
    """(white x - mean) / std of an x from 0 to 1, as (x - mean') / std'; ``None`` if these are no numbers of three channels."""
    means, stds = _three(mean), _three(std)
    if means is None or stds is None or white <= 0 or min(stds) <= 0:
        return None
    return tuple(_rounded(value / white) for value in means), tuple(_rounded(value / white) for value in stds)


def _three(values: Any) -> tuple[float, ...] | None:
    if isinstance(values, (int, float)):
        return (float(values),) * 3
    if not isinstance(values, (list, tuple)):
        return None
    every = cast("Sequence[Any]", values)
    numbers = [float(value) for value in every if isinstance(value, (int, float))]
    return tuple(numbers) if len(numbers) == len(every) == 3 else None


def _rounded(value: float) -> float:
    """Without the last digits, in which 255 times 1 / 255 is not 1."""
    return float(f"{value:.12g}")


def _defaults(kind: Any) -> dict[str, Any]:
    """What a processor of the library has where its description says nothing."""
    import transformers

    names = ("do_rescale", "rescale_factor", "rescale_offset", "do_normalize", "image_mean", "image_std", "do_flip_channel_order")
    known: Any = getattr(transformers, kind, None) if isinstance(kind, str) and kind.isidentifier() else None
    found = {name: getattr(known, name, None) for name in names} if isinstance(known, type) else {}
    return {name: value for name, value in found.items() if isinstance(value, (bool, int, float, list, tuple))}
