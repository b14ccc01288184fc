"""Whether the Hugging Face hub can be reached: asked once, before a library asks for a file, and again, and again, for minutes.

Where it can't be reached, files come from the cache alone, and what is not there is known at once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

_SECONDS = 5.0  # that the hub may take for an answer of any kind


@contextlib.contextmanager
def hub() -> Generator[str | None]:
    """Inside, files of the hub come from the cache alone if it can't be reached; why it can't, ``None`` if it can.

    A user's own offline mode (``HF_HUB_OFFLINE=1``) is left as it is.
    """
    from huggingface_hub import constants

    settings: Any = constants
    reason = None if settings.HF_HUB_OFFLINE else _unreachable(settings.ENDPOINT)
    if reason is None:
        yield None
        return
    settings.HF_HUB_OFFLINE = True
    try:
        yield f"{settings.ENDPOINT} can't be reached ({reason}), and there is no copy in the cache ({settings.HF_HUB_CACHE})"
    finally:
        settings.HF_HUB_OFFLINE = False


ONCE = "a connection once, as what is fetched is kept in the cache"
"""What to do about it."""


def _unreachable(endpoint: str) -> str | None:
    """Why a server does not answer, through the proxies that are set; ``None`` if it says anything at all."""
    import huggingface_hub

    library: Any = huggingface_hub
    try:
        library.get_session().head(endpoint, timeout=_SECONDS)
    except Exception as error:  # noqa: BLE001 - of whatever client the library uses
        return (str(error).splitlines() or [type(error).__name__])[0]
    return None
