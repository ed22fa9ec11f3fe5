"""What the JSON and the MessagePack codec share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET, Raw, UnsetType

from ._record import writable_time

if TYPE_CHECKING:
    from datetime import datetime

Choices = list[dict[str, Any]]


def set_fields(
    fields: dict[str, Any],
    timestamp: datetime | None | UnsetType,
    generation_id: str | None | UnsetType,
    session_id: str | None | UnsetType,
    choices: Choices | None | UnsetType,
    stream: bool | None | UnsetType,
    cost: float | None | UnsetType,
    latency: float | None | UnsetType,
) -> dict[str, Any]:
    """Set in `fields` what is not `UNSET`, take out what is ``None``, and return it."""
    if timestamp is not UNSET:
        fields["timestamp"] = timestamp and writable_time(timestamp)
    if generation_id is not UNSET:
        fields["generationId"] = generation_id
    if session_id is not UNSET:
        fields["sessionId"] = session_id
    if choices is not UNSET:
        if isinstance(choices, Raw):
            message = "choices are set as a list: a view could be of another format"
            raise TypeError(message)
        fields["choices"] = choices
    if stream is not UNSET:
        fields["stream"] = stream
    if cost is not UNSET:
        fields["cost"] = cost
    if latency is not UNSET:
        fields["latency"] = latency
    if (
        timestamp is None
        or generation_id is None
        or session_id is None
        or choices is None
        or stream is None
        or cost is None
        or latency is None
    ):
        return {name: value for name, value in fields.items() if value is not None}
    return fields


def check_offset(buffer: bytearray, offset: int) -> int:
    """Return the size of `buffer`; raise `ValueError` for an `offset` outside it.

    msgspec 0.22 takes an offset beyond the end, and leaves uninitialised memory in the gap.
    """
    size = len(buffer)
    if not -1 <= offset <= size:
        message = f"offset {offset} is outside the buffer of {size} bytes"
        raise ValueError(message)
    return size
