"""Responses as logs hold them, including failures that the provider reported."""

from __future__ import annotations

from msgspec import UNSET, Raw, UnsetType

from chatcodec._record import ABSENT_OR_NULL, ChatCompletionResponse


class Logged(ChatCompletionResponse):
    """A fully checked response, or a message in which the provider reported an error instead."""

    error: Raw | UnsetType = UNSET
    """What the provider reported, undecoded."""

    @property
    def failed(self) -> bool:
        """Whether there is an ``error`` that is not null."""
        return self.error is not UNSET and bytes(self.error) not in ABSENT_OR_NULL
