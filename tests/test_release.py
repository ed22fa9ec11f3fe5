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


def run(*command: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run `command`, without the variables that make Python import this tree."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE"))}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


def succeeds(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run `command`, check that it exits with 0, and return its output."""
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
    """Install the wheel and its dependencies into a new environment, and return its folder."""
    folder = tmp_path_factory.mktemp("alone")
    venv.create(folder, with_pip=True)
    succeeds(folder / "bin" / "python", "-m", "pip", "install", "--quiet", wheel)
    return folder


def test_the_distributions_and_the_readme_are_fit_for_upload(built: Path, wheel: Path) -> None:
    succeeds(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir())
    succeeds(Path(sys.executable).with_name("check-wheel-contents"), wheel)


def test_the_wheel_holds_the_library_and_nothing_else(wheel: Path) -> None:
    source = ROOT / "src"
    library = {str(path.relative_to(source)) for path in (source / "chatcodec").rglob("*.py")}
    library.add("chatcodec/py.typed")
    names = set(zipfile.ZipFile(wheel).namelist())
    metadata = {name for name in names if name.startswith(f"{NAME}.dist-info/")}
    assert names - metadata == library
    assert wheel.name == f"{NAME}-py3-none-any.whl"


def test_the_metadata_has_the_licence_and_the_urls(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"{NAME}.dist-info/METADATA").decode()
        (licence,) = (name for name in archive.namelist() if "/licenses/" in name)
        assert archive.read(licence) == (ROOT / "src/chatcodec/LICENSE").read_bytes()
    assert re.findall(r"^License-Expression: (.*)$", metadata, re.MULTILINE) == ["MIT"]
    urls = dict(re.findall(r"^Project-URL: (\w+), (https://.*)$", metadata, re.MULTILINE))
    assert set(urls) == {"Homepage", "Documentation", "Changelog", "Issues"}
    assert (ROOT / urls["Changelog"].partition("/blob/main/")[2]).is_file()


def test_the_changelog_starts_with_this_version() -> None:
    changelog = (ROOT / ".github/CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.*)$", changelog, re.MULTILINE)[0] == chatcodec.__version__


def test_tox_and_the_workflow_cover_the_pythons_of_the_classifiers() -> None:
    environments = re.search(r"^env_list = (\[.*?,?\n?\])", PROJECT, re.MULTILINE | re.DOTALL)
    matrix = re.search(r"^ +python: (\[.*\])$", (ROOT / ".github/workflows/ci.yml").read_text(), re.MULTILINE)
    assert environments
    assert matrix
    names = re.findall(r'"(.*?)"', environments[1])
    assert [name for name in names if "-" not in name] == json.loads(matrix[1]) == [*PYTHONS, "3.14t"]
    assert re.findall(r'^requires-python = ">=(.*)"$', PROJECT, re.MULTILINE) == PYTHONS[:1]


def test_every_environment_of_tox_runs_the_tests() -> None:
    found = succeeds(sys.executable, "-m", "tox", "config", "-k", "commands")
    environments = re.findall(r"^\[testenv:(.*)\]$", found, re.MULTILINE)
    assert {"3.14t", *PYTHONS} < set(environments)
    runs = re.findall(r"^commands = python -m pytest .* --pyargs tests chatcodec$", found, re.MULTILINE)
    assert len(runs) == len(environments)


# uv, since pip evaluates the markers of requirements for the Python that it runs on.
@pytest.mark.parametrize("python", PYTHONS)
def test_every_extra_installs_from_wheels(python: str) -> None:
    resolve = ("pip", "compile", "--quiet", "--only-binary", ":all:", "--no-header", "--no-annotate", "--all-extras")
    found = succeeds(sys.executable, "-m", "uv", *resolve, "--python-version", python, "pyproject.toml")
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
    succeeds(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *wheels, "msgspec", cwd=tmp_path)
    assert [path.name.split("-")[3] for path in tmp_path.iterdir()] == ["cp314t"]


def test_the_sdist_holds_the_files_of_a_clone(built: Path) -> None:
    with tarfile.open(built / f"{NAME}.tar.gz") as archive:
        names = {name.removeprefix(f"{NAME}/") for name in archive.getnames()}
    top_level = {"src", "tests", "bench", "pyproject.toml", "README.md", "PKG-INFO", ".gitignore"}
    assert {name.partition("/")[0] for name in names} <= top_level
    kept = {
        str(path.relative_to(ROOT))
        for folder in ("src", "tests", "bench")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert kept <= names
    assert not [name for name in names if "node_modules" in name or name.endswith((".pyc", "peer.js"))]


def test_the_wheel_installs_msgspec_and_nothing_else(alone: Path, tmp_path: Path) -> None:
    listed = succeeds(alone / "bin" / "python", "-m", "pip", "list", "--format=freeze")
    assert {line.split("==")[0] for line in listed.split()} - {"pip", "setuptools"} == {"chatcodec", "msgspec"}
    code = "import chatcodec; print(chatcodec.__file__)"
    assert Path(succeeds(alone / "bin" / "python", "-c", code, cwd=tmp_path).strip()).is_relative_to(alone)


def test_the_readmes_first_session_works_on_the_wheel_alone(alone: Path, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    first, *_ = re.findall(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert first.startswith(">>> from chatcodec import")
    (tmp_path / "session.txt").write_text(first, encoding="utf-8")
    printed = succeeds(alone / "bin" / "python", "-m", "doctest", "-v", "session.txt", cwd=tmp_path)
    assert "Test passed" in printed


def test_the_command_without_its_extra_says_how_to_install_it(alone: Path) -> None:
    done = run(alone / "bin" / "chatcodec", "stats", "-")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "pip install 'chatcodec[cli]'" in done.stderr.replace('"', "'")
