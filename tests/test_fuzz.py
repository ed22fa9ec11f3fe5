"""Fuzzing for a bounded time: guided by coverage where atheris is installed, and by hypothesis everywhere."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .hostility import check_message, check_stream, saved_messages
from .support import Framing, framings, streams_of
from .wire import CODECS, hostile

pytestmark = pytest.mark.slow

SECONDS = 90
SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
SAVED = [message.data for message in saved_messages()]


@pytest.mark.skipif(not importlib.util.find_spec("atheris"), reason="atheris is not installed")
def test_a_minute_of_guided_fuzzing_finds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", str(tmp_path / "corpus"), f"-max_total_time={SECONDS}"]
    root = Path(__file__).parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=2 * SECONDS, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    assert len(list((tmp_path / "corpus").iterdir())) > len(SAVED)  # it found its way into more than it started from


@pytest.mark.parametrize("codec", CODECS, ids=["json", "msgpack"])
@settings(max_examples=3000, deadline=None, suppress_health_check=SLOW_IS_FINE)
@given(data=st.data())
def test_thousands_of_hostile_messages_pass_every_check(codec: Any, data: st.DataObject) -> None:
    message = data.draw(hostile(codec) | st.sampled_from(SAVED).flatmap(lambda saved: st.binary().map(saved.__add__)))
    check_message(codec, message)


@framings
@settings(max_examples=2000, deadline=None, suppress_health_check=SLOW_IS_FINE)
@given(data=st.data())
def test_thousands_of_hostile_streams_pass_every_check(framing: Framing, data: st.DataObject) -> None:
    whole = data.draw(streams_of(framing))
    places = data.draw(st.lists(st.integers(0, len(whole)), max_size=5))
    check_stream(framing, whole, places, data.draw(st.none() | st.integers(1, 60)))
