"""The README: every code block in it runs, and says what it says."""

from __future__ import annotations

import ast
import contextlib
import doctest
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.extras

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in BLOCKS if language == "python"]
SETUP, TEST, *COMMANDS = [text for language, text in BLOCKS if language == "sh"]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder as a fresh clone leaves it, with what has not been committed yet."""
    folder = tmp_path_factory.mktemp("clone")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def run(command: str, folder: Path) -> str:
    """Run `command` as a user's shell would: not in the virtual environment of the tests."""
    inside = str(Path(sys.executable).parent)
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if part != inside)
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"} | {"PATH": path}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_block_is_of_a_kind_that_is_run() -> None:
    assert {language for language, _ in BLOCKS} == {"sh", "python"}


def test_the_sessions_do_what_they_say() -> None:
    text = "".join(text for text in PYTHON if text.startswith(">>> "))
    test = doctest.DocTestParser().get_doctest(text, {}, "README.md", str(README), 0)
    assert len(test.examples) > 20
    assert doctest.DocTestRunner().run(test).failed == 0


@pytest.mark.parametrize("recipe", sorted((ROOT / "tests" / "recipes").glob("[!_]*.py")), ids=lambda path: path.stem)
def test_the_recipes_are_those_that_the_other_tests_use(recipe: Path) -> None:
    source = recipe.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source))
    assert source.removeprefix(f'"""{docstring}"""').strip() in [text.strip() for text in PYTHON]


def test_the_recipes_print_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    readme = ModuleType("readme")
    monkeypatch.setitem(sys.modules, "readme", readme)  # where frameworks look for the types of handlers
    for text in PYTHON:
        if not text.startswith(">>> "):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(text, "README.md", "exec"), vars(readme))  # noqa: S102
            assert printed.getvalue().splitlines() == re.findall(r"^ *print\(.*\)  # (.*)$", text, re.MULTILINE)


def test_the_first_command_sets_up_and_shows_the_sample(clone: Path) -> None:
    assert re.search(r"records +707\b", run(SETUP, clone))
    for command in COMMANDS:
        run(command, clone)


def test_the_second_command_is_what_ci_runs() -> None:
    """It is running now; what can be checked here is that CI takes it from the README."""
    printed = subprocess.run(
        ["bash", ".ci/run", "--print"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert printed == TEST
    assert "-m pytest" in TEST
