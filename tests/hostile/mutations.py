"""Changes of a spec that a tired person, or a hostile one, could make."""

from __future__ import annotations

import copy
import random
import string
from typing import Any

JUNK: tuple[Any, ...] = (
    None, True, False, 0, -1, 3, 10**30, 0.5, -2.5, 1e300, "", "x", "$x", "$", "**", "../..", "a -> b", "image[3, H, W]", "\u2028",
    "x" * 500,
    [], [[]], [None], {}, {"op": "relu"}, {"": ""}, {"use": "."}, ["a", "a"], {"type": "sum"}, [1, 2], "aux-nas", "resnet-fpn",
)  # fmt: skip


def mutated(data: Any, chance: random.Random) -> Any:
    """A copy with one to three changes at random places."""
    made = copy.deepcopy(data)
    for _ in range(chance.randint(1, 3)):
        places = list(_places(made))
        if places:
            container, key = chance.choice(places)
            _change(container, key, chance)
    return made


def _places(value: Any) -> Any:
    """(container, key) of every value inside."""
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def _change(container: Any, key: Any, chance: random.Random) -> None:
    kind = chance.choice(["junk", "junk", "remove", "misspell", "copy", "wrap", "grow"])
    if kind == "remove":
        del container[key]
    elif kind == "misspell" and isinstance(container, dict) and key:
        place = chance.randrange(len(key))
        container[key[:place] + chance.choice(string.ascii_lowercase) + key[place + 1 :]] = container.pop(key)
    elif kind == "misspell" and isinstance(container[key], str) and container[key]:
        text = container[key]
        place = chance.randrange(len(text))
        container[key] = text[:place] + text[place + 1 :]
    elif kind == "copy":
        source, other = chance.choice(list(_places(container)))
        container[key] = copy.deepcopy(source[other])
    elif kind == "wrap":
        container[key] = chance.choice([[container[key]], {"x": container[key]}])
    elif kind == "grow" and isinstance(container, dict):
        container[f"{key}x"] = copy.deepcopy(container[key])
    else:
        container[key] = copy.deepcopy(chance.choice(JUNK))


def mutated_bytes(content: bytes, chance: random.Random) -> bytes:
    """A copy with one to four bytes flipped, removed or put in."""
    made = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(made) + 1)
        kind = chance.choice(["flip", "remove", "insert", "cut"])
        if kind == "flip" and at < len(made):
            made[at] ^= 1 << chance.randrange(8)
        elif kind == "remove":
            del made[at : at + chance.randint(1, 8)]
        elif kind == "cut":
            del made[at + 200 :]
        else:
            made[at:at] = chance.choice(
                [b"\x00", b"\t", b"\r\n", b"\xef\xbb\xbf", b"!!python/object:os.system ", b"&a ", b"*a", b"{", b"]", b": ", b"- ", b"%"]
            )
    return bytes(made)
