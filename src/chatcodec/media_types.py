"""The media types of what this package writes, for `Content-Type` and `Accept`.

JSON (RFC 8259), MessagePack and server-sent events have theirs registered with IANA. NDJSON has none; this is the
one in use. Frames of MessagePack are for connections of their own, and have none either.

>>> from chatcodec import media_types
>>> media_types.MSGPACK
'application/vnd.msgpack'
"""

JSON: str = "application/json"
MSGPACK: str = "application/vnd.msgpack"
NDJSON: str = "application/x-ndjson"
SSE: str = "text/event-stream"
