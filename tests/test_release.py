"""What is uploaded: the wheel and the sdist are built, checked, installed alone, and used."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

pytestmark = [pytest.mark.extras, pytest.mark.slow]

ROOT = Path(__file__).parent.parent
NAME = f"chatcodec-{version('chatcodec')}"


def run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run `command`, without what points Python at this tree."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE"))}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


def succeeds(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run `command`, which has to exit with 0, and return what it prints."""
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist, and the wheel from the sdist, and return their folder."""
    folder = tmp_path_factory.mktemp("dist")
    succeeds(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel and what it needs into an environment of its own, and return that."""
    folder = tmp_path_factory.mktemp("alone")
    venv.create(folder, with_pip=True)
    succeeds(folder / "bin" / "python", "-m", "pip", "install", "--quiet", wheel)
    return folder


def test_the_metadata_and_the_readme_are_fit_for_upload(built: Path) -> None:
    succeeds(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir())


def test_the_wheel_is_put_together_as_wheels_are(wheel: Path) -> None:
    succeeds(Path(sys.executable).with_name("check-wheel-contents"), wheel)


def test_the_wheel_holds_the_library_and_nothing_else(wheel: Path) -> None:
    source = ROOT / "src"
    library = {str(path.relative_to(source)) for path in (source / "chatcodec").rglob("*.py")} | {"chatcodec/py.typed"}
    names = set(zipfile.ZipFile(wheel).namelist())
    metadata = {name for name in names if name.startswith(f"{NAME}.dist-info/")}
    assert names - metadata == library
    assert wheel.name == f"{NAME}-py3-none-any.whl"


def test_the_sdist_holds_what_a_clone_does(built: Path) -> None:
    with tarfile.open(built / f"{NAME}.tar.gz") as archive:
        names = {name.removeprefix(f"{NAME}/") for name in archive.getnames()}
    assert {name.partition("/")[0] for name in names} <= {
        *("src", "tests", "bench", "pyproject.toml", "README.md", "PKG-INFO", ".gitignore")
    }
    kept = {
        str(path.relative_to(ROOT))
        for folder in ("src", "tests", "bench")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert kept <= names
    assert not [name for name in names if "node_modules" in name or name.endswith((".pyc", "peer.js"))]


def test_the_wheel_brings_msgspec_and_nothing_else(alone: Path) -> None:
    listed = succeeds(alone / "bin" / "python", "-m", "pip", "list", "--format=freeze")
    assert {line.split("==")[0] for line in listed.split()} - {"pip", "setuptools"} == {"chatcodec", "msgspec"}


def test_the_readmes_first_session_works_on_the_wheel_alone(alone: Path, tmp_path: Path) -> None:
    first = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )[0]
    assert first.startswith(">>> from chatcodec import")
    (tmp_path / "session.txt").write_text(first, encoding="utf-8")
    printed = succeeds(alone / "bin" / "python", "-m", "doctest", "-v", "session.txt", cwd=tmp_path)
    assert "Test passed" in printed


def test_it_is_the_wheel_that_is_imported(alone: Path, tmp_path: Path) -> None:
    code = "import chatcodec, sys; print(chatcodec.__file__, 'asyncio' in sys.modules)"
    place, asyncio = succeeds(alone / "bin" / "python", "-c", code, cwd=tmp_path).split()
    assert Path(place).is_relative_to(alone)
    assert asyncio == "False"


def test_the_command_without_its_extra_says_how_to_install_it(alone: Path) -> None:
    done = run(alone / "bin" / "chatcodec", "stats", "-")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "pip install 'chatcodec[cli]'" in done.stderr.replace('"', "'")
