"""Settings for all tests."""

from __future__ import annotations

import signal

from hypothesis import settings

# Time is measured in bench/, never here: no test fails because a machine is slow.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# A shell that runs the tests in the background has interrupts ignored, and every process of theirs inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)
