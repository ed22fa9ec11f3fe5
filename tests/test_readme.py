"""The README: short enough to read, and every code block in it runs and does what it says."""

from __future__ import annotations

import ast
import doctest
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.extras

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
*SESSIONS, GATEWAY = [text for language, text in BLOCKS if language == "python"]
SETUP, TEST = [text for language, text in BLOCKS if language == "sh"]
(COMMAND,) = [text for language, text in BLOCKS if language == "bash"]
HERE = "https://github.com/chatcodec/chatcodec/"


def run(command: str, folder: Path) -> str:
    """Run `command` as a user's shell would: not in the virtual environment of the tests."""
    inside = str(Path(sys.executable).parent)
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if part != inside)
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"} | {"PATH": path}
    shell = ["bash", "-euo", "pipefail", "-c", command]
    done = subprocess.run(shell, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readme_is_short_and_every_block_of_code_is_run() -> None:
    assert len(TEXT.splitlines()) <= 250
    assert {language for language, _ in BLOCKS} == {"sh", "bash", "python"}


def test_the_sessions_do_what_they_say() -> None:
    assert all(text.startswith(">>> ") for text in SESSIONS)
    test = doctest.DocTestParser().get_doctest("".join(SESSIONS), {}, "README.md", "README.md", 0)
    assert len(test.examples) > 10
    assert doctest.DocTestRunner().run(test).failed == 0


def test_the_gateway_is_the_one_that_is_tested() -> None:
    source = (ROOT / "tests" / "recipes" / "gateway.py").read_text(encoding="utf-8")
    assert source.removeprefix(f'"""{ast.get_docstring(ast.parse(source))}"""').lstrip() == GATEWAY


def test_links_work_on_a_package_page() -> None:
    """They are absolute, and the files of this repository that they name exist."""
    links = re.findall(r"\]\((.*?)\)", TEXT)
    assert len(links) > 5
    for link in links:
        assert link.startswith("https://github.com/")
        if link.startswith(HERE):
            kind, branch, path = link.removeprefix(HERE).split("/", 2)
            assert (kind in {"blob", "raw", "tree"}, branch, (ROOT / path).exists()) == (True, "main", True), link


def test_the_first_command_sets_up_a_fresh_clone_and_sums_up_the_sample(tmp_path: Path) -> None:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]  # uncommitted files too
    for name in subprocess.check_output(listed, cwd=ROOT, text=True).split("\0"):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    assert re.search(r"records +707\b", run(SETUP, tmp_path))
    assert re.search(r'"records": *632\b', run(COMMAND, tmp_path))


def test_ci_takes_the_second_command_from_the_readme() -> None:
    """It is not run here: the tests are what it runs."""
    assert subprocess.check_output(["bash", ".ci/run", "--print"], cwd=ROOT, text=True) == TEST
    assert "-m pytest" in TEST
