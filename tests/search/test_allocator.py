"""What is freed comes again without a page fault, and is given back at the end."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from graphnas.search.allocator import OWN

SCRIPT = """
import resource
from graphnas.search.allocator import freed_memory_kept

def blocks():
    return [bytearray(b"1") * 2**20 for _ in range(40)]

def faults(rounds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        blocks()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * resource.getpagesize()

faults(2)
start, ordinary = resident(), faults(5)
with freed_memory_kept():
    faults(2)
    kept = faults(5)
    held = resident() - start
print(ordinary, kept, held, resident() - start)
"""


def measured(**environment: str) -> list[int]:
    variables = {name: value for name, value in os.environ.items() if name not in OWN} | environment
    done = subprocess.run([sys.executable, "-c", SCRIPT], check=True, capture_output=True, text=True, env=variables)
    return [int(number) for number in done.stdout.split()]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_freed_memory_is_kept_and_then_given_back() -> None:
    ordinary, kept, held, after = measured()
    assert ordinary > 10_000  # 40 MiB are 10,240 pages
    assert kept < 500
    assert held > 30 * 2**20
    assert after < 10 * 2**20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_settings_of_the_user_stand() -> None:
    assert measured(MALLOC_TRIM_THRESHOLD_="131072")[1] > 10_000
