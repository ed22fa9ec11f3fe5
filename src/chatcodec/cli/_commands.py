"""What the user types, and how the command ends."""

from __future__ import annotations

import os
import sys
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, TextIO

import click
import msgspec

from . import _files, _jobs, _work
from ._files import Failure, File, Format
from ._output import output
from ._progress import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_INTERRUPTED = 130
_BROKEN_PIPE = 141
# A process that would read less than this is not worth its start.
_SEGMENTS_A_JOB = 8


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> int:
        """Run the command that was typed, and return its status."""
        try:
            status: int = super().invoke(ctx)
            sys.stdout.flush()
        except OSError as error:
            # Of inputs and named outputs it would be a Failure, so it is standard output.
            _drop_output()
            if isinstance(error, BrokenPipeError):
                return _BROKEN_PIPE
            message = f"standard output: {error.strerror}"
            raise Failure(message) from error
        return status


def _drop_output() -> None:
    """Let what is left to be written to standard output go nowhere, or Python tries and fails again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command, tell errors in one line, and return the status."""
    try:
        return int(commands.main(arguments, prog_name="chatcodec", standalone_mode=False) or 0)
    except click.Abort:
        return _INTERRUPTED
    except (click.ClickException, Failure) as error:
        message = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"chatcodec: {message}", err=True)
        return 2


@click.group(cls=_Commands, no_args_is_help=False)
@click.version_option(package_name="chatcodec")
def commands() -> None:
    """Look through, check and convert files of chat-completion responses.

    Files are NDJSON (.ndjson, .jsonl) or frames of MessagePack (.msgpack), compressed or not (.gz, .zst).
    A name of - is standard input or output; its format is told with --from and --to.
    """


_from = click.option(
    "--from",
    "source",
    type=click.Choice(["ndjson", "msgpack"]),
    help="The format read; without it, what the name says.",
)
_jobs_option = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=os.cpu_count(),
    show_default="all cores",
    help="How many processes read NDJSON files that are not compressed; other files are read by one.",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
_names = click.argument("names", metavar="FILE...", nargs=-1, required=True)


@commands.command()
@_names
@_from
@_jobs_option
@_as_json
def stats(names: tuple[str, ...], source: Format | None, jobs: int, as_json: bool) -> int:
    """Sum up the records of all FILEs: how many, when, what they cost, how long they took.

    Quantiles and the number of sessions are estimates where there are many; their error is told.
    """
    from chatcodec._stats.summary import merged  # noqa: PLC0415  # numpy, which the other commands do without

    files = [_files.file_named(name, source, "--from") for name in names]
    with _worked(files, _work.summarise, jobs) as results:
        summary = merged(part.value for _, part in results)
    if as_json:
        click.echo(msgspec.json.encode(summary.report()).decode())
    else:
        from ._report import show  # noqa: PLC0415

        show(summary)
    return 0


@commands.command()
@_names
@_from
@_jobs_option
@_as_json
def check(names: tuple[str, ...], source: Format | None, jobs: int, as_json: bool) -> int:
    """Print each bad record in FILEs as FILE:LINE: reason; the status is 1 if there is any.

    In a file of frames, LINE is the number of the frame.
    """
    files = [_files.file_named(name, source, "--from") for name in names]
    found = False
    with _worked(files, _work.check, jobs) as results:
        for segment, part in results:
            for bad in part.bad:
                _tell(_json_line(segment.file, bad) if as_json else _line(segment.file, bad), sys.stdout)
            found = found or bool(part.bad)
    return int(found)


@commands.command()
@click.argument("source_name", metavar="SRC")
@click.argument("target_name", metavar="DST")
@_from
@click.option(
    "--to",
    "target",
    type=click.Choice(["ndjson", "msgpack"]),
    help="The format written; without it, what the name says.",
)
@_jobs_option
def convert(source_name: str, target_name: str, source: Format | None, target: Format | None, jobs: int) -> int:
    """Write the records of SRC to DST, in the format and with the compression that their names tell.

    Fields that the record does not know are kept. Bad records are left out and told on standard error, and the
    status is 1. DST gets its name when it is whole.
    """
    file = _files.file_named(source_name, source, "--from")
    to = _files.file_named(target_name, target, "--to")
    found = False
    with _worked([file], partial(_work.convert, target=to.format), jobs) as results, output(to) as write:
        for segment, part in results:
            write(part.value)
            for bad in part.bad:
                _tell(_line(segment.file, bad), sys.stderr)
            found = found or bool(part.bad)
    return int(found)


@contextmanager
def _worked(files: list[File], work: _jobs.Work, jobs: int) -> Iterator[Iterator[tuple[_files.Segment, _jobs.Part]]]:
    """Yield the results of `work` on `files`, and show the progress meanwhile."""
    sizes = [_files.size_of(file) for file in files]
    total = None if None in sizes else sum(filter(None, sizes))
    segments = [segment for file in files for segment in _files.segments(file, _files.SEGMENT_BYTES)]
    jobs = max(1, min(jobs, sum(segment.end is not None for segment in segments) // _SEGMENTS_A_JOB))
    meter = _jobs.Meter.for_jobs(jobs)
    with shown(meter, total), closing(_jobs.run(segments, work, jobs, meter)) as results:
        yield results


def _tell(line: str, stream: TextIO) -> None:
    # Not by click.echo(), which looks beneath what the progress bar put there to keep lines off its own.
    stream.write(line + "\n")
    stream.flush()


def _line(file: File, bad: _jobs.Bad) -> str:
    return f"{click.format_filename(file.name)}:{bad.line}: {bad.reason}"


def _json_line(file: File, bad: _jobs.Bad) -> str:
    return msgspec.json.encode({"file": click.format_filename(file.name), **bad._asdict()}).decode()
