"""Settings for all tests."""

from __future__ import annotations

import gc
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from .support import FRAMINGS, TYPES
from .wire import CODECS

# Time is measured in bench/, never here: no test fails because a machine is slow.
settings.register_profile("quick", deadline=None, max_examples=40)
settings.register_profile("thorough", deadline=None, max_examples=100)

# A shell that runs the tests in the background has interrupts ignored, and nohup hang-ups. The tests send both to
# processes of theirs, which would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
if sys.platform != "win32":
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def fixture_of(values: list[Any], name: Callable[[Any], str]) -> Any:
    """Return a fixture with each of the values; Hypothesis rejects those that are made anew for each test."""
    return pytest.fixture(scope="module", params=values, ids=name)(lambda request: request.param)


framing = fixture_of(FRAMINGS, lambda framing: framing.stream.__name__[10:])
codec = fixture_of(CODECS, lambda codec: codec.__name__[10:])
type = fixture_of(TYPES, lambda record: record.__name__)


def pytest_configure(config: pytest.Config) -> None:
    """Draw more examples where the slow tests run too."""
    settings.load_profile("quick" if "not slow" in config.option.markexpr else "thorough")


def pytest_collection_finish() -> None:
    """Keep the tests themselves out of garbage collections: every test of memory makes full ones."""
    gc.collect()
    gc.freeze()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import a module marked `extras` that `-m` excludes: packages that it imports may be missing."""
    if "not extras" not in config.option.markexpr or collection_path.suffix != ".py":
        return None
    source = collection_path.read_text(encoding="utf-8")
    return bool(re.search(r"^pytestmark = .*\bpytest\.mark\.extras\b", source, re.MULTILINE)) or None


@pytest.fixture
def anyio_backend() -> str:
    """Run tests that are coroutines, marked `anyio`, on asyncio."""
    return "asyncio"
