"""The media types of what this package writes, for `Content-Type` and `Accept`.

Those of JSON (RFC 8259), MessagePack and server-sent events are registered with IANA. NDJSON has none; this is the one
in common use. MessagePack frames are meant for connections of their own, and have none either.

>>> from chatcodec import media_types
>>> media_types.MSGPACK
'application/vnd.msgpack'
"""

JSON: str = "application/json"
"""One message as JSON, as `chatcodec.json` writes it."""

MSGPACK: str = "application/vnd.msgpack"
"""One message as MessagePack, as `chatcodec.msgpack` writes it."""

NDJSON: str = "application/x-ndjson"
"""A stream of JSON lines, as `chatcodec.ndjson` writes it."""

SSE: str = "text/event-stream"
"""A stream of server-sent events, as `chatcodec.sse` writes it."""
