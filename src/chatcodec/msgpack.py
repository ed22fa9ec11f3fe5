"""MessagePack: decode, peek at, encode, patch and stamp single messages.

A timestamp is written as the timestamp extension (type -1 of the MessagePack specification), and read from it or from
RFC 3339 text.

Every function raises only `msgspec.DecodeError` (`msgspec.ValidationError` where well-formed data has the wrong type)
for bad input, and `msgspec.EncodeError` or `TypeError` for a value that cannot be encoded. A caller's mistakes raise
`TypeError` (an argument of the wrong type), `ValueError` (a closed or released buffer) or `BufferError` (one that is
not C-contiguous). No error quotes the data. All functions are safe to call from many threads.

What is kept of a message, and what is not (each row has a test):

| what | becomes |
|---|---|
| `null` and absent | both read as `None`; `None` is never written |
| unknown fields | ignored by `decode` and `peek`, kept by `patch`, `stamp` and transcoding |
| order, numbers and escapes | kept by `patch` and `stamp`, byte for byte; white space between values may be dropped |
| duplicate keys | the last one wins; `patch` and `stamp` keep one, in the first one's place |
| a top-level `error` | `decode` reads an empty record; `peek` shows it as `Envelope.error` and `.failed` |
| a time without an offset | rejected, reading and writing |
| a time's offset | not kept: an instant is written |
| digits below the microsecond | rounded |
| a time that rounds beyond the year 9999 | rejected: `9999-12-31T23:59:59.9999999Z` |
| times inside `choices` | kept |
| NaN and infinities | kept |
| integers beyond 64 bits | `EncodeError` |
| binary | kept |
| keys that are numbers | kept inside `choices`, elsewhere rejected |
| extensions | kept by `patch` and `stamp`, and inside `choices` |
| half a surrogate pair | rejected, reading and writing |
| text that is not UTF-8 | rejected where it is decoded, else passed on unchanged |
| a byte order mark | an error |
| a record beyond the reader's limit | written; a stream decoder's `max_record_bytes` rejects it |
| nesting | limited by Python's recursion limit; from 3.12, by the limit for C code; from 3.14, by the stack size |

`chatcodec.json` has the same functions for JSON.
"""

from typing import Final

from ._patch import MSGPACK

__all__ = ["decode", "decode_choices", "encode", "encode_into", "patch", "peek", "stamp"]

decode: Final = MSGPACK.decode
peek: Final = MSGPACK.peek
decode_choices: Final = MSGPACK.decode_choices
encode: Final = MSGPACK.encode
encode_into: Final = MSGPACK.encode_into
patch: Final = MSGPACK.patch
stamp: Final = MSGPACK.stamp
