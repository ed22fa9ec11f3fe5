"""Settings for all tests."""

from __future__ import annotations

from hypothesis import settings

# Time is measured in bench/, never here: no test fails because a machine is slow.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
