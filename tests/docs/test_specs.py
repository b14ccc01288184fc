"""docs/specs.md is what docs/specs.py makes of the schemas."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_reference_is_up_to_date() -> None:
    code = "import runpy, sys; sys.stdout.write(runpy.run_path('docs/specs.py')['document']())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)  # no plugins of other tests
    assert done.returncode == 0, done.stderr
    assert done.stdout == (ROOT / "docs" / "specs.md").read_text(), "run: python docs/specs.py"
