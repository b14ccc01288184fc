"""One cell in a process of its own: ``python -m graphnas.compare.cell``, with the job as a line of JSON on stdin.

The process ends as a search does: 0 done, 130 or 143 stopped on request with all saved. Why it failed is left in a file beside the run.
When its parent is gone (stdin ends), it stops as on a request, so that nobody is left to work in a folder that a second try wants.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

from graphnas.compare.files import failure_file
from graphnas.compare.memory import Meter, gauge_for, watched_by
from graphnas.errors import GraphNASError, Interrupted
from graphnas.runs.folder import RunFolder
from graphnas.search.checkpoint import write_atomically
from graphnas.search.precision import find_device
from graphnas.search.progress import Progress


def main() -> int:
    """Run the cell that stdin names; the exit status."""
    job: dict[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=_watch_parent, daemon=True).start()
    run = Path(job["out"])
    try:
        _run(job, run)
    except Interrupted as stopped:
        _say(str(stopped))
        return stopped.exit_status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except GraphNASError as error:
        return _failed(run, str(error), error.exit_status)
    except Exception as error:  # noqa: BLE001  # the last place: the comparison shows it, and goes on with the other cells
        traceback.print_exc()
        return _failed(run, f"internal error: {type(error).__name__}: {error}", 1)
    return 0


def _run(job: dict[str, Any], run: Path) -> None:
    for module in job["plugins"]:
        import_module(module)
    from graphnas.runs import search
    from graphnas.size_limits import MAX_NODES, limits
    from graphnas.spec import SearchSpec, parse_spec

    with limits(max_nodes=job.get("max_nodes", MAX_NODES)):
        spec = parse_spec(job["spec"], kind="search")
        assert isinstance(spec, SearchSpec)
        meter = Meter(run, gauge_for(find_device(spec.runtime.device)))
        search(spec, out=run, resume=RunFolder(run).spec.exists(), progress=watched_by(meter, _line))


def _failed(run: Path, message: str, status: int) -> int:
    _say(message)
    write_atomically(failure_file(run), json.dumps({"message": message}).encode())
    return status


def _line(progress: Progress) -> None:
    if progress.line is not None:
        _say(progress.line)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _watch_parent() -> None:
    while sys.stdin.readline():
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # the thread that watches stdin holds its lock: an ordinary exit would wait for it
