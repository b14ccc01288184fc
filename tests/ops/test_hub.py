"""A hub that can't be reached is told in seconds, with what to do; what the cache has is taken from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import safetensors.torch
import timm
import torch
from huggingface_hub import constants

from graphnas.graph.types import Image
from graphnas.ops.base import TypeRuleError
from graphnas.ops.hub import hub
from tests.ops.test_contract import build

REASON = "https://huggingface.co can't be reached (no route to it), and there is no copy in the cache"


class Session:
    """A client of HTTP that gets no answer, or one."""

    def __init__(self, answers: bool) -> None:
        self.answers = answers
        self.asked: list[tuple[str, float]] = []

    def head(self, url: str, *, timeout: float) -> None:
        self.asked.append((url, timeout))
        if not self.answers:
            raise OSError("no route to it\nand more")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "https://huggingface.co")
    return tmp_path


def session(answers: bool, monkeypatch: pytest.MonkeyPatch) -> Session:
    made = Session(answers)
    monkeypatch.setattr(huggingface_hub, "get_session", lambda: made)
    return made


def test_it_is_asked_once_and_for_seconds(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = session(answers=False, monkeypatch=monkeypatch)
    with hub() as reason:
        assert reason == f"{REASON} ({cache})"
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE
    assert silent.asked == [("https://huggingface.co", 5.0)]


def test_any_answer_will_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session(answers=True, monkeypatch=monkeypatch)
    with hub() as reason:
        assert reason is None
        assert not constants.HF_HUB_OFFLINE


def test_the_users_own_offline_mode_stays(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = session(answers=False, monkeypatch=monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with hub() as reason:
        assert reason is None
    assert constants.HF_HUB_OFFLINE
    assert not silent.asked


def test_published_weights_without_a_connection(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session(answers=False, monkeypatch=monkeypatch)
    with pytest.raises(TypeRuleError) as caught:
        build("timm", {"model": "resnet10t", "pretrained": True}).build([Image(3, 32, 32)])
    assert str(caught.value) == f"the published weights of timm's resnet10t can't be fetched: {REASON} ({cache})"
    assert caught.value.fix == (
        "a connection once, as what is fetched is kept in the cache; or pretrained: false, or with it start_from: FILE.safetensors in the"
        " search's networks"
    )


def test_what_the_cache_has_needs_no_connection(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session(answers=False, monkeypatch=monkeypatch)
    published = timm.create_model("resnet10t")
    about: Any = timm.get_pretrained_cfg("resnet10t")
    folder = cache / f"models--{about.hf_hub_id.replace('/', '--')}"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    safetensors.torch.save_file(published.state_dict(), folder / "snapshots" / "abc" / "model.safetensors")
    made = build("timm", {"model": "resnet10t", "pretrained": True}).build([Image(3, 32, 32)])
    assert torch.equal(made.get_parameter("fc.weight"), published.get_parameter("fc.weight"))
