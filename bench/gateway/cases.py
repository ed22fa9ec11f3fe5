"""The cases: what upstream sends, what has to come out, and who handles it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import ormsgpack
from msgspec import Raw

from bench import by_hand
from bench.by_hand import JSON_STAMPS
from bench.gateway import handlers

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.gateway.handlers import Handler, Make, Meter


@dataclass
class Case:
    """A job: what upstream sends, one of `servers.KINDS`; which responses or lines are stamped; who does it."""

    kind: str
    stamped: str  # "all", those with a "cost", or "none"
    contenders: dict[str, Make]


_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def _cost_of_views(line: bytes) -> Any:
    return _decode_fields(line).get("cost")


def _cost_of_dict(line: bytes) -> Any:
    return orjson.loads(line).get("cost")


def _cost_of_model(line: bytes) -> Any:
    return by_hand.Model.model_validate_json(line).cost


_READERS = {"msgspec, dict[str, Raw]": _cost_of_views, "orjson": _cost_of_dict, "pydantic": _cost_of_model}


def _each(chatcodec: Make, peer: Callable[..., Handler], *more: dict[str, Any]) -> dict[str, Make]:
    peers = {name: partial(peer, *(some[name] for some in more), stamp) for name, stamp in JSON_STAMPS.items()}
    return {handlers.FLOOR: handlers.untouched, "chatcodec": chatcodec, **peers}


_WHOLE = _each(handlers.whole_of_chatcodec, handlers.whole_by_hand)
_LINES = _each(handlers.lines_of_chatcodec, handlers.lines_by_hand)
_PACKED: dict[str, Make] = {
    handlers.FLOOR: handlers.untouched,
    "chatcodec": handlers.packed_by_chatcodec,
    "msgspec": partial(handlers.packed_by_hand, msgspec.json.Decoder().decode, msgspec.msgpack.Encoder().encode),
    "orjson": partial(handlers.packed_by_hand, orjson.loads, ormsgpack.packb),
    "pydantic": handlers.packed_by_pydantic,
}

_LAST: dict[str, Make] = {
    **_each(handlers.last_of_chatcodec, handlers.last_by_hand, _READERS),
    "chatcodec, with a search": handlers.found_by_chatcodec,
    "orjson, with a search": partial(handlers.found_by_hand, JSON_STAMPS["orjson"]),
}

CASES = {
    "whole, the field absent": Case("whole-absent", "all", _WHOLE),
    "whole, the field present": Case("whole-present", "all", _WHOLE),
    "each of 200 lines, the field absent": Case("lines-absent", "all", _LINES),
    "each of 200 lines, the field present": Case("lines-present", "all", _LINES),
    "read 200 lines, stamp the last": Case("lines-absent", "cost", _LAST),
    "JSON in, MessagePack out": Case("whole-present", "none", _PACKED),
}
# The targets for chatcodec's added CPU time, as a share of orjson's.
TARGETS = {
    ("whole, the field absent", "chatcodec"): 0.5,
    ("whole, the field present", "chatcodec"): 0.5,
    ("each of 200 lines, the field absent", "chatcodec"): 1.0,
    ("each of 200 lines, the field present", "chatcodec"): 1.0,
    ("read 200 lines, stamp the last", "chatcodec"): 0.75,
    ("read 200 lines, stamp the last", "chatcodec, with a search"): 0.55,
    ("JSON in, MessagePack out", "chatcodec"): 1.25,
}


def handler(case: str, contender: str, meter: Meter) -> Handler:
    """Return what handles one response."""
    return CASES[case].contenders[contender](meter)
