"""Coverage-guided fuzzing of every function and all three streams.

    python -m tests.fuzz FOLDER [OPTION...]     fuzz, with libFuzzer's options; FOLDER is what it starts from and grows
    python -m tests.fuzz -merge=1 LESS FOLDER   take the inputs that cover all that FOLDER does
    python -m tests.fuzz keep LESS              keep them in tests/corpus

It stops at the first input that fails a check of `hostility`, and prints it in hexadecimal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from random import Random

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

with atheris.instrument_imports(include=["chatcodec"]):  # pyright: ignore[reportAttributeAccessIssue]
    from chatcodec import json, msgpack
    from tests.hostility import FOUND, check_message, check_stream, found_inputs, saved_messages
    from tests.oddities import odd_records
    from tests.support import FRAMINGS, FRAMINGS_OF
    from tests.wire import CASES

LONGEST = 400


def check(data: bytes) -> None:
    """Check `data` as a message in both formats, and as a stream in all three framings."""
    random = Random(data)
    try:
        for codec in (json, msgpack):
            check_message(codec, data)
            places = random.choices(range(len(data) + 1), k=4)
            for framing in FRAMINGS_OF[codec]:
                check_stream(framing, data, places, random.choice([None, None, 1, 8, 30]))
    except BaseException:
        sys.stderr.write(f"the input, in hexadecimal: {data.hex()}\n")
        raise


def seeds() -> Iterable[bytes]:
    """Yield what fuzzing starts from."""
    yield from found_inputs()
    yield from (message.data for message in saved_messages())
    records = [case.record for case in CASES] + odd_records(Random(1), 20)
    for codec in (json, msgpack):
        yield from map(codec.encode, records)
    for framing in FRAMINGS:
        yield from (framing.encoded(*records[at : at + 3]) + framing.end for at in range(0, len(records), 3))


def main(command: str, *options: str) -> None:
    """Run the command in the module's docstring."""
    if command == "keep":
        inputs = {path.read_bytes() for path in Path(*options).iterdir()} - {b""}
        FOUND.write_text("".join(f"{data.hex()}\n" for data in sorted(inputs, key=lambda data: (len(data), data))))
        return
    if not any(option.startswith("-merge") for option in (command, *options)):
        Path(command).mkdir(exist_ok=True)
        for data in seeds():
            if len(data) <= LONGEST:
                (Path(command) / sha256(data).hexdigest()).write_bytes(data)
    # Merging starts this command again and again.
    atheris.Setup([f"{sys.executable} -m tests.fuzz", command, *options, f"-max_len={LONGEST}"], check)
    atheris.Fuzz()  # ends the process


main(*sys.argv[1:])
