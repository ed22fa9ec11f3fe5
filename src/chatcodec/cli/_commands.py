"""The command line: arguments, signals and the exit status."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import click
import msgspec

from chatcodec._records import MAX_RECORD_BYTES

from . import _jobs, _records
from ._files import SIGNALS, Source, destination, discard_unfinished, drop, dropping, failing
from ._formats import FORMATS, Failure, file_named
from ._report import progress_bar

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from ._formats import File
    from ._jobs import Bad, Part, Segment

_SIGPIPE = 13


class _Stopped(BaseException):
    """Ends the command with the status of a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Commands(click.Group):
    """A group whose commands return a status. A problem with standard output is a `Failure`."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _standard_output():  # --help prints
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> int:
        with _standard_output():
            status: int = super().invoke(ctx)
            sys.stdout.flush()
            return status


@contextmanager
def _standard_output() -> Generator[None]:
    try:
        yield
    except OSError as error:
        # Errors from inputs and named outputs are Failures, so this one is from standard output.
        drop(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise _Stopped(_SIGPIPE) from None
        message = f"standard output: {error.strerror}"
        raise Failure(message) from error


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command, report errors in one line, and return the status."""
    try:
        with _stopped_by_signals():
            return int(commands.main(arguments, prog_name="chatcodec", standalone_mode=False) or 0)
    except _Stopped as stop:
        return 128 + stop.number
    except (click.ClickException, Failure) as error:
        message = error.format_message() if isinstance(error, click.ClickException) else str(error)
        _complain(f"chatcodec: {' '.join(message.splitlines())}")
        return 2
    except MemoryError:
        _complain("chatcodec: a record needs more memory than there is; use a smaller --max-record-bytes")
        return 2


@contextmanager
def _stopped_by_signals() -> Generator[None]:
    """Raise `_Stopped` at a signal, unless it is ignored, as under nohup."""
    defaults = (signal.SIG_DFL, signal.default_int_handler)
    before = {number: signal.signal(number, _stop) for number in SIGNALS if signal.getsignal(number) in defaults}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, _: object) -> NoReturn:
    # A second signal ends the process at once, wherever it waits, so nothing may depend on what comes after this.
    for each in SIGNALS:
        if signal.getsignal(each) is _stop:
            signal.signal(each, signal.SIG_DFL)
    discard_unfinished()
    raise _Stopped(number)


@click.group(cls=_Commands, no_args_is_help=False)
@click.version_option(package_name="chatcodec")
def commands() -> None:
    """Summarise, check and convert files of chat-completion responses.

    Files hold JSON lines (.ndjson, .jsonl), MessagePack frames (.msgpack) or server-sent events (.sse). They may be
    compressed (.gz, .zst) and rotated (.ndjson.1, .ndjson.2.gz). The name - means standard input or output; give its
    format with --from or --to.
    """


_from = click.option(
    "--from", "source", type=click.Choice(list(FORMATS)), help="Format of the input.  [default: from its name]"
)
_jobs_option = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=os.cpu_count(),
    show_default="all cores",
    help="Processes that read uncompressed JSON lines; any other file is read by one.",
)
_max_record_bytes = click.option(
    "--max-record-bytes",
    type=click.IntRange(min=1),
    default=MAX_RECORD_BYTES,
    show_default=True,
    help="A longer record is a bad record.",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
_names = click.argument("names", metavar="FILE...", nargs=-1, required=True)


@commands.command()
@_names
@_from
@_jobs_option
@_max_record_bytes
@_as_json
def stats(names: tuple[str, ...], source: str | None, jobs: int, max_record_bytes: int, *, as_json: bool) -> int:
    """Sum up the records of all FILEs: how many, when, what they cost, how long they took.

    With many records, quantiles and the number of sessions are estimates, shown with their errors.
    """
    from chatcodec._stats.summary import merged  # noqa: PLC0415  # imports numpy, which the other commands do not need

    work = partial(_records.summarise, max_record_bytes=max_record_bytes)
    files = [file_named(name, source, "--from") for name in names]
    with _opened(files) as sources, _worked(sources, work, jobs) as results:
        summary = merged(part.value for _, part in results)
    if as_json:
        _print(msgspec.json.encode(summary.report()).decode())
    else:
        from ._report import report_text  # noqa: PLC0415

        _print(report_text(summary))
    return 0


@commands.command()
@_names
@_from
@_jobs_option
@_max_record_bytes
@_as_json
def check(names: tuple[str, ...], source: str | None, jobs: int, max_record_bytes: int, *, as_json: bool) -> int:
    """Print each bad record in FILEs as FILE:LINE: reason; the status is 1 if there are any.

    Messages in which the provider reported an error count as bad. LINE is the number of the line, frame or event.
    """
    work = partial(_records.check, max_record_bytes=max_record_bytes)
    found = False
    files = [file_named(name, source, "--from") for name in names]
    with _opened(files) as sources, _worked(sources, work, jobs) as results:
        for segment, part in results:
            for bad in part.bad:
                _print(_json_line(segment, bad) if as_json else _line(segment, bad))
                found = True
    return int(found)


@commands.command()
@click.argument("source_name", metavar="SRC")
@click.argument("target_name", metavar="DST")
@_from
@click.option(
    "--to", "target", type=click.Choice(list(FORMATS)), help="Format of the output.  [default: from its name]"
)
@_jobs_option
@_max_record_bytes
def convert(
    source_name: str, target_name: str, source: str | None, target: str | None, jobs: int, max_record_bytes: int
) -> int:
    """Write the records of SRC to DST; their names determine format and compression.

    Unknown fields are kept. Bad records are left out and reported on standard error, and the status is then 1. DST is
    replaced once everything has been written.
    """
    if target_name == "/dev/stdout":
        target_name = "-"  # opened by its name, a log that output is appended to would be replaced
    file, to = file_named(source_name, source, "--from"), file_named(target_name, target, "--to")
    work = partial(_records.convert, max_record_bytes=max_record_bytes, target=to.format)
    kinds: set[str] = set()
    with (
        _opened([file]) as sources,
        _worked(sources, work, jobs) as results,
        destination(to, *sources) as write,
    ):
        for segment, part in results:
            write(part.value)
            for bad in part.bad:
                _complain(_line(segment, bad))
                kinds.add(bad.kind)
        if not kinds & {"incomplete", "upstream"}:
            # A stream that was broken must not look whole.
            write(FORMATS[to.format].framing.END)
    return int(bool(kinds))


@contextmanager
def _opened(files: list[File]) -> Generator[list[Source]]:
    """Open all `files` now, so that none is read twice or left out if logs are rotated meanwhile."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(Source(file))) for file in files]


@contextmanager
def _worked(sources: list[Source], work: _jobs.Work, jobs: int) -> Generator[Iterator[tuple[Segment, Part]]]:
    """Yield the results of `work` on `sources`, and show progress meanwhile."""
    sizes = [source.size for source in sources]
    total = None if None in sizes else sum(filter(None, sizes))
    jobs = _jobs.jobs_for(sources, jobs)
    with failing("memory for its processes"):
        meter = _jobs.Meter.for_jobs(jobs)
    results = _jobs.run(sources, work, jobs, meter)
    with progress_bar(meter, total), closing(results):
        yield results


def _print(line: str) -> None:
    # Not click.echo(), which bypasses the stream that the progress bar substitutes for standard output.
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _complain(line: str) -> None:
    """Print `line` on standard error, if possible; if not, the status still shows what happened."""
    with dropping(sys.stderr):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _line(segment: Segment, bad: Bad) -> str:
    return f"{segment.source.file.title}:{bad.line}: {bad.reason}"


def _json_line(segment: Segment, bad: Bad) -> str:
    # In ASCII, because standard output may have any encoding.
    return json.dumps({"file": segment.source.file.title, **bad._asdict()})
