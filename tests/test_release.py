"""The release: the sdist and the wheel are built, checked, installed alone and used, and each Python has wheels."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import chatcodec

pytestmark = [pytest.mark.extras, pytest.mark.slow]

ROOT = Path(__file__).parent.parent
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
PYTHONS = re.findall(r"Python :: (3\.\d+)", PROJECT)
NAME = f"chatcodec-{chatcodec.__version__}"


def run(*command: str | Path, cwd: Path = ROOT, status: int = 0) -> tuple[str, str]:
    """Run `command` without the variables that make Python import this tree; return its output and errors."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist, and the wheel from the sdist, and return their folder."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def alone(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel and its dependencies into a new environment, and return the folder of its commands."""
    folder = tmp_path_factory.mktemp("alone")
    venv.create(folder, with_pip=True)
    run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", wheel)
    return folder / "bin"


def test_the_distributions_and_the_readme_are_fit_for_upload(built: Path, wheel: Path) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir())
    run(Path(sys.executable).with_name("check-wheel-contents"), wheel)


def test_the_wheel_holds_the_library_and_its_metadata_and_nothing_else(wheel: Path) -> None:
    assert wheel.name == f"{NAME}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    modules = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src" / "chatcodec").rglob("*.py")}
    metadata = {name for name in files if name.startswith(f"{NAME}.dist-info/")}
    assert files.keys() - metadata == modules | {"chatcodec/py.typed"}
    licences = [files[name] for name in files if "/licenses/" in name]
    assert licences == [(ROOT / "src/chatcodec/LICENSE").read_bytes()]
    text = files[f"{NAME}.dist-info/METADATA"].decode()
    assert re.findall(r"^License-Expression: (.*)$", text, re.MULTILINE) == ["MIT"]
    urls = dict(re.findall(r"^Project-URL: (\w+), (https://.*)$", text, re.MULTILINE))
    assert urls.keys() == {"Homepage", "Documentation", "Changelog", "Issues"}
    changelog = (ROOT / urls["Changelog"].partition("/blob/main/")[2]).read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", changelog, re.MULTILINE)[0] == chatcodec.__version__


def test_tox_and_the_workflow_run_the_tests_on_the_pythons_of_the_classifiers() -> None:
    assert re.findall(r'^requires-python = ">=(.*)"$', PROJECT, re.MULTILINE) == PYTHONS[:1]
    workflow = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    (matrix,) = re.findall(r"^ +python: (\[.*\])$", workflow, re.MULTILINE)
    assert json.loads(matrix) == [*PYTHONS, "3.14t"]
    environments, _ = run(sys.executable, "-m", "tox", "config", "-k", "commands")
    names = re.findall(r"^\[testenv:(.*)\]$", environments, re.MULTILINE)
    assert [name for name in names if "-" not in name] == [*PYTHONS, "3.14t"]
    commands = re.findall(r"^commands = python -m pytest .* --pyargs tests chatcodec$", environments, re.MULTILINE)
    assert len(commands) == len(names)


# uv, since pip evaluates the markers of requirements for the Python that it runs on.
@pytest.mark.parametrize("python", PYTHONS)
def test_every_extra_installs_from_wheels(python: str) -> None:
    resolve = ("pip", "compile", "--quiet", "--only-binary", ":all:", "--no-header", "--no-annotate", "--all-extras")
    found, _ = run(sys.executable, "-m", "uv", *resolve, "--python-version", python, "pyproject.toml")
    names = set(re.findall(r"^([\w.-]+)==", found, re.MULTILINE))
    assert {"msgspec", "click", "dask", "pytest", "polars"} <= names
    # The exceptions: these have no wheels for the newest Pythons, which do without them.
    optional = {"atheris", "fastsimdjson", "orjson", "pysimdjson"}
    missing = {"3.14": {"pysimdjson"}, "3.15": optional}.get(python, set())
    assert optional - names == missing
    # The standard library has Zstandard from 3.14 on.
    assert ("backports-zstd" in names) == (PYTHONS.index(python) < PYTHONS.index("3.14"))


def test_the_free_threaded_python_has_a_wheel_of_msgspec(tmp_path: Path) -> None:
    wheels = ("--only-binary=:all:", "--implementation=cp", "--python-version=3.14", "--abi=cp314t")
    run(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *wheels, "msgspec", cwd=tmp_path)
    assert [path.name.split("-")[3] for path in tmp_path.iterdir()] == ["cp314t"]


def test_the_sdist_holds_the_files_of_a_clone(built: Path) -> None:
    with tarfile.open(built / f"{NAME}.tar.gz") as archive:
        names = {name.removeprefix(f"{NAME}/") for name in archive.getnames()}
    folders = {"src", "tests", "bench"}
    top_level = {name.partition("/")[0] for name in names}
    assert top_level <= {*folders, "pyproject.toml", "README.md", "PKG-INFO", ".gitignore"}
    files = {path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()}
    assert {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts} <= names
    assert not [name for name in names if "node_modules" in name or name.endswith((".pyc", "peer.js"))]


def test_the_wheel_installs_msgspec_and_nothing_else(alone: Path, tmp_path: Path) -> None:
    listed, _ = run(alone / "python", "-m", "pip", "list", "--format=freeze")
    assert {line.split("==")[0] for line in listed.split()} - {"pip", "setuptools"} == {"chatcodec", "msgspec"}
    file, _ = run(alone / "python", "-c", "import chatcodec; print(chatcodec.__file__)", cwd=tmp_path)
    assert Path(file.strip()).is_relative_to(alone.parent)


def test_the_readmes_first_session_works_on_the_wheel_alone(alone: Path, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    first, *_ = re.findall(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert first.startswith(">>> from chatcodec import")
    (tmp_path / "session.txt").write_text(first, encoding="utf-8")
    assert "Test passed" in run(alone / "python", "-m", "doctest", "-v", "session.txt", cwd=tmp_path)[0]


def test_the_installed_command_without_its_extra_says_how_to_install_it(alone: Path) -> None:
    out, err = run(alone / "chatcodec", "stats", "-", status=2)
    assert (out, err.count("\n")) == ("", 1)
    assert "pip install 'chatcodec[cli]'" in err.replace('"', "'")
