# SPDX-License-Identifier: Apache-2.0
"""The wheel, not the source tree: what is inside, and that it works with nothing else around."""

import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMOKE = Path(__file__).with_name("smoke.py")


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command; return what it printed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the source distribution as an index would serve it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


def missing(names: list[str]) -> set[str]:
    """Return what a wheel of this package must hold and does not."""
    sources = (ROOT / "src").rglob("*.py")
    wanted = {path.relative_to(ROOT / "src").as_posix() for path in sources}
    return (wanted | {"lossledger/py.typed"}) - set(names)


def test_contents(wheel):
    """The wheel holds every module, the typing marker and the licence; no tests."""
    names = zipfile.ZipFile(wheel).namelist()
    assert missing(names) == set()
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"lossledger"}


def test_contents_twin(wheel):
    """A wheel without the typing marker is found."""
    names = zipfile.ZipFile(wheel).namelist()
    assert missing([n for n in names if n != "lossledger/py.typed"]) == {"lossledger/py.typed"}


def test_pinned_versions(wheel, tmp_path):
    """Installed alone, with the pinned versions, it imports, computes and prints."""
    print(smoke(wheel, tmp_path, "-c", str(ROOT / "constraints.txt")))


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="NumPy 2.0 has no wheels for it")
def test_lowest_versions(wheel, tmp_path):
    """The lower bounds of the dependencies are true: it works with exactly those versions."""
    unpacked = tmp_path / "unpacked"
    zipfile.ZipFile(wheel).extractall(unpacked)
    (info,) = unpacked.glob("*.dist-info")
    lowest = tmp_path / "lowest.txt"
    lowest.write_text("\n".join(lower_bounds(PathDistribution(info))))
    print(smoke(wheel, tmp_path, "-c", str(lowest)))


def lower_bounds(distribution: Distribution) -> list[str]:
    """Return the core requirements, each pinned to its lower bound."""
    needed = [r for r in distribution.requires or [] if "extra ==" not in r]
    assert all(r.count(">=") == 1 and "," not in r for r in needed), needed
    return [r.replace(">=", "==") for r in needed]


def smoke(wheel: Path, folder: Path, *options: str) -> str:
    """Install a wheel into a fresh environment and run the smoke script there."""
    run(sys.executable, "-m", "venv", "--without-pip", "fresh", cwd=folder)
    python = folder / "fresh" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    run(*pip, "install", "--quiet", *options, str(wheel), cwd=folder)
    run(*pip, "check", cwd=folder)
    # -I: neither the current folder nor PYTHONPATH can lend it the source tree.
    return run(python, "-I", "-W", "error", SMOKE, cwd=folder)
