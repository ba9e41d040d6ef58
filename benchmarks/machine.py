# SPDX-License-Identifier: Apache-2.0
"""What the numbers were measured on: processor, instruction set, threads, allocator, load."""

import os
import platform
import re
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import torch
from memory import available_bytes

PACKAGES = ("lossledger", "torch", "jax", "optax", "monai", "torchmetrics", "keras", "numpy")
HUGE_PAGES = "glibc.malloc.hugetlb=1"
_ALLOCATOR_SETTINGS = ("GLIBC_TUNABLES", "LD_PRELOAD", "THP_MEM_ALLOC_ENABLE")


@dataclass(frozen=True)
class Machine:
    """Facts that belong beside every number."""

    processor: str
    cores: int
    isa: str
    threads: int
    memory_gib: float | None
    allocator: str
    load: float
    python: str
    packages: dict[str, str]

    def lines(self) -> list[str]:
        """Return the facts as lines of text."""
        free = "unknown" if self.memory_gib is None else f"{self.memory_gib:.1f} GiB free"
        versions = ", ".join(f"{name} {version}" for name, version in self.packages.items())
        return [
            f"processor: {self.processor}, {self.cores} cores, {self.isa}",
            f"threads: {self.threads}",
            f"memory: {free}",
            f"allocator: {self.allocator}",
            f"load average at the start: {self.load:.2f}",
            f"versions: Python {self.python}, {versions}",
        ]

    def to_dict(self) -> dict[str, object]:
        """Return the facts ready for JSON."""
        return asdict(self)


def look(threads: int, environment: dict[str, str]) -> Machine:
    """Return the facts of this machine for workers with that environment."""
    free = available_bytes()
    return Machine(
        processor=f"{_processor()} ({platform.machine()})",
        cores=cores(),
        isa=torch.backends.cpu.get_cpu_capability(),
        threads=threads,
        memory_gib=None if free is None else free / 2**30,
        allocator=_allocator(environment),
        load=os.getloadavg()[0],
        python=platform.python_version(),
        packages={name: v for name in PACKAGES if (v := _version(name)) is not None},
    )


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _allocator(environment: dict[str, str]) -> str:
    changed = [f"{k}={environment[k]}" for k in _ALLOCATOR_SETTINGS if environment.get(k)]
    libc = " ".join(platform.libc_ver()).strip() or "the system's"
    pages = re.search(r"\[(\w+)\]", _read("/sys/kernel/mm/transparent_hugepage/enabled"))
    spelled = f"{libc}, " + (", ".join(changed) or "default settings")
    return spelled + (f", transparent huge pages: {pages[1]}" if pages else "")


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    family = re.search(r"^cpu family\s*:\s*(\d+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    if found is None:
        return platform.processor() or "unknown"
    return found[1] + (f" family {family[1]}" if family else "")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
