"""JSON (RFC 8259): decode, peek at, encode, patch and stamp single messages.

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
| a time's offset | kept; an offset with seconds, as before about 1930, is written as UTC |
| digits below the microsecond | rounded |
| a time that rounds beyond the year 9999 | rejected: `9999-12-31T23:59:59.9999999Z` |
| times inside `choices` | written as text, and read as text |
| NaN and infinities | written as `null` |
| integers beyond 64 bits | kept inside `choices` |
| binary | written as base64 text |
| keys that are numbers | written as text; from MessagePack, of keys with the same text the last one wins |
| extensions | `TypeError`; `EncodeError` from transcoding |
| half a surrogate pair | rejected, reading and writing; a stream of `bytes` forwards an emoji cut into two deltas |
| text that is not UTF-8 | rejected where it is decoded, else passed on unchanged |
| a byte order mark | an error; streams skip it at their start |
| a record beyond the reader's limit | written; a stream decoder's `max_record_bytes` rejects it |
| nesting | limited by Python's recursion limit; from 3.12, by the limit for C code; from 3.14, by the stack size |

On Python 3.13, JSON nested up to that limit needs a thread stack of 3 MiB; the default is usually 8 MiB on Linux.

`chatcodec.msgpack` has the same functions for MessagePack.
"""

from typing import Final

from ._patch import JSON

__all__ = ["decode", "decode_choices", "encode", "encode_into", "patch", "peek", "stamp"]

decode: Final = JSON.decode
peek: Final = JSON.peek
decode_choices: Final = JSON.decode_choices
encode: Final = JSON.encode
encode_into: Final = JSON.encode_into
patch: Final = JSON.patch
stamp: Final = JSON.stamp
