"""Runs networks, each in a process of its own: one that crashes or hangs costs the others nothing."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.family.network import Network

ROOT = Path(__file__).parents[2]
LIBRARIES = ("torch", "timm", "torchvision", "segmentation_models_pytorch", "transformers")
Result = dict[str, Any]


def run_all(names: Iterable[str], folder: Path, *, jobs: int, limit_s: float, command: list[str], keep: bool = False) -> None:
    """Run each network that has no result of this very code; results are files in ``folder``, written as they come.

    Args:
        names: Networks, in the order in which to run them.
        folder: Made if it is not there.
        jobs: How many processes at a time.
        limit_s: Seconds of processor time that each may take; twice that on the clock times the load of the machine.
        command: What runs one: its name is added.
        keep: Take results of another state of the code too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    code = fingerprint()
    waiting = [name for name in names if (known := read(folder, name)) is None or not (keep or known.get("code") == code)]
    with ThreadPoolExecutor(jobs) as pool:
        for result in pool.map(lambda name: run_one(name, folder, limit_s=limit_s, command=command, code=code), waiting):
            print(line_of(result), flush=True)  # noqa: T201


def run_one(name: str, folder: Path, *, limit_s: float, command: list[str], code: str) -> Result:
    """Run one network in a process of its own, and complete what it left behind."""
    file = path_of(folder, name)
    file.unlink(missing_ok=True)
    write(file, {"name": name, "code": code, "checks": {}, "seconds": 0.0})
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    start = time.monotonic()
    with open(file.with_suffix(".log"), "w", encoding="utf-8") as log:
        try:
            done = subprocess.run(
                [*command, name], cwd=ROOT, env=environment, stdout=log, stderr=log, timeout=20 * limit_s, check=False,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (int(limit_s), int(limit_s) + 5)),
            )  # fmt: skip
            ended = "" if done.returncode == 0 else f"the process ended with status {done.returncode}"
            if done.returncode == -24:  # SIGXCPU
                ended = f"took more than {limit_s:g} s of processor time"
        except subprocess.TimeoutExpired:
            ended = f"took more than {20 * limit_s:g} s"
    result = read(folder, name) or {"name": name, "code": code, "checks": {}}
    if ended:
        running = result.get("running", "built")
        result["checks"][running] = {"reason": ended, "seconds": round(time.monotonic() - start, 1)}
        result["seconds"] = limit_s if "more than" in ended else result.get("seconds", 0.0)
    result.pop("running", None)
    write(file, result)
    return result


def child(network: Network, folder: Path) -> None:
    """The one network of this process: results are written after every check."""
    import torch

    from tests.family.checks import CHECKS, examine

    torch.set_num_threads(1)
    file = path_of(folder, network.name)
    result = read(folder, network.name) or {"name": network.name, "code": fingerprint(), "checks": {}}
    names = list(CHECKS)
    result["running"] = names[0]
    write(file, result)
    before = time.process_time()
    for name, reason, trial in examine(network):
        now = time.process_time()
        result["checks"][name] = {"reason": reason, "seconds": round(now - before, 2)}
        before = now
        result |= trial.facts
        result["running"] = names[min(names.index(name) + 1, len(names) - 1)]
        result["seconds"] = round(now, 1)
        write(file, result)
    result |= {"versions": {library: version(library) for library in LIBRARIES}, "python": sys.version.split()[0], "remark": network.remark}
    result["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    del result["running"]
    write(file, result)


def failed(result: Result) -> dict[str, str]:
    """Check -> why it does not hold."""
    return {name: check["reason"] for name, check in result["checks"].items() if check["reason"] is not None}


def line_of(result: Result) -> str:
    problems = failed(result)
    text = "holds" if not problems else "; ".join(f"{name}: {reason}" for name, reason in problems.items()).replace("\n", " ")
    return f"{result['name']:45} {result['seconds']:6.1f} s  {text}"


def fingerprint() -> str:
    """Of the code that a result depends on."""
    digest = hashlib.sha256()
    for folder in (ROOT / "graphnas", ROOT / "searchspaces", ROOT / "tests" / "family"):
        for file in sorted([*folder.rglob("*.py"), *folder.rglob("*.yaml")]):
            digest.update(file.read_bytes())
    digest.update((ROOT / "tests" / "families.py").read_bytes())
    digest.update(" ".join(version(library) for library in LIBRARIES).encode())
    return digest.hexdigest()[:16]


def path_of(folder: Path, name: str) -> Path:
    return folder / f"{name.replace('/', '--')}.json"


def read(folder: Path, name: str) -> Result | None:
    file = path_of(folder, name)
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def write(file: Path, result: Result) -> None:
    temporary = file.with_suffix(".part")
    temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    temporary.replace(file)
