"""Files on a real cluster of two processes: every record once, however files are cut and whoever dies."""

# Dask's bags and clients have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import gzip
import os
import pickle
import signal
import zipfile
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from dask.bytes import read_bytes  # type: ignore[attr-defined]
from distributed import Client, LocalCluster, WorkerPlugin

from chatcodec import ChatCompletionResponse, Envelope, RecordError, json, ndjson
from chatcodec import dask as chatcodec_dask

from .commands import BAD, DELTAS, GOOD, REASON, RESPONSES, call, varied, written

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.extras

BOM = b"\xef\xbb\xbf"
RECORDS = ndjson.StreamDecoder().feed(RESPONSES.read_bytes() + DELTAS.read_bytes())


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A cluster of two worker processes, on which everything in this module is computed."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0) as cluster,
        Client(cluster) as client,
    ):
        yield client


def encoded(record: Envelope) -> tuple[str | None, Any]:
    return record.generation_id, json.decode_choices(record.choices)


def in_order(records: list[ChatCompletionResponse]) -> list[tuple[str | None, Any]]:
    return [(record.generation_id, record.choices) for record in records]


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("blocksize", [2_999, "7 kB", "0.1 MiB", "64 MiB", None])
def test_each_record_comes_once_and_in_order_however_files_are_cut(blocksize: Any) -> None:
    bag = chatcodec_dask.read_ndjson([str(RESPONSES), str(DELTAS)], blocksize=blocksize)
    assert bag.map(encoded).compute() == in_order(RECORDS)


@pytest.mark.usefixtures("client")
def test_envelopes_travel_between_processes() -> None:
    first, *_ = chatcodec_dask.read_ndjson(str(RESPONSES)).take(1)
    assert type(first) is Envelope
    assert json.decode_choices(first.choices) == RECORDS[0].choices


@pytest.mark.usefixtures("client")
def test_records_are_of_the_type_asked_for() -> None:
    whole = chatcodec_dask.read_ndjson(str(RESPONSES), ChatCompletionResponse, "50 kB").compute()
    assert whole == RECORDS[: len(whole)]
    lines = chatcodec_dask.read_ndjson(str(RESPONSES), bytes, "50 kB").compute()
    assert b"\n".join(lines) + b"\n" == RESPONSES.read_bytes()


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("blocksize", [5_000, "0.1 MiB", None])
def test_stats_are_those_of_the_command(capfd: pytest.CaptureFixture[str], blocksize: Any) -> None:
    report = chatcodec_dask.stats(str(RESPONSES.parent / "*.ndjson"), blocksize).compute()
    assert report.records == 707
    assert msgspec.json.encode(report).decode() == call(capfd, "stats", "--json", RESPONSES, DELTAS).out.strip()


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("blocksize", ["0.2 MiB", "3 MiB", None])
def test_estimates_are_those_of_the_command_too(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, blocksize: Any
) -> None:
    path = varied(tmp_path / "varied.ndjson")
    report = chatcodec_dask.stats(str(path), blocksize).compute()
    assert report.quantile_error > 0
    assert msgspec.json.encode(report).decode() == call(capfd, "stats", "--json", path).out.strip()


class Killer(WorkerPlugin):
    """Kills the first worker that has done a task, and what it had done with it."""

    def __init__(self, victims: Path) -> None:
        self.victims = victims

    def transition(self, key: object, start: str, finish: str, **_: object) -> None:
        """Look at what a task has become."""
        if finish == "memory":
            try:
                os.mkdir(self.victims)  # noqa: PTH102  # one process alone can make it
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("what", ["records", "stats"])
def test_no_record_is_lost_or_doubled_when_a_worker_is_killed(client: Client, tmp_path: Path, what: str) -> None:
    victims = tmp_path / "victims"
    client.register_plugin(Killer(victims), name="killer")
    try:
        if what == "records":
            found = chatcodec_dask.read_ndjson([str(RESPONSES), str(DELTAS)], blocksize="7 kB").map(encoded)
            assert found.compute() == in_order(RECORDS)
        else:
            report = chatcodec_dask.stats([str(RESPONSES), str(DELTAS)], "7 kB").compute()
            assert (report.records, report.bad, report.cost.count) == (707, 0, 75 + 13)
        assert victims.exists()
    finally:
        client.unregister_worker_plugin("killer")
        client.wait_for_workers(2, timeout=30)


@pytest.fixture
def mixed(tmp_path: Path) -> str:
    """A file with bad records: one of every three."""
    return str(written(tmp_path / "mixed.ndjson", *[GOOD, BAD, b"", GOOD] * 50))


# What runs in workers runs here too, where its coverage is measured.
SCHEDULERS = pytest.mark.parametrize("scheduler", [None, "sync"])


@pytest.mark.usefixtures("client")
@SCHEDULERS
def test_a_bad_record_raises_its_error(mixed: str, scheduler: str | None) -> None:
    with pytest.raises(RecordError, match="line 2 at offset 28") as caught:
        chatcodec_dask.read_ndjson(mixed).compute(scheduler=scheduler)
    assert (caught.value.reason, caught.value.data, caught.value.records) == (REASON, BAD, [])


class Log:
    """Appends each error to a file that all workers share."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, error: RecordError) -> None:
        """Write down `error`."""
        with self.path.open("ab") as file:
            file.write(pickle.dumps(error))

    def read(self) -> list[RecordError]:
        """Return what was written down."""
        errors = []
        with self.path.open("rb") as file:
            while file.peek(1):
                errors.append(pickle.load(file))
        return errors


@pytest.mark.usefixtures("client")
@SCHEDULERS
def test_or_on_error_is_told_in_the_worker(tmp_path: Path, mixed: str, scheduler: str | None) -> None:
    log = Log(tmp_path / "log")
    bag = chatcodec_dask.read_ndjson(mixed, ChatCompletionResponse, "1 kB", on_error=log)
    assert bag.compute(scheduler=scheduler) == [ChatCompletionResponse(cost=1.5)] * 100
    told = sorted((error.index, error.offset, error.reason, error.data) for error in log.read())
    assert len(told) == 50
    assert told == sorted(
        (error.index, error.offset, REASON, BAD)
        for partition in blocks(mixed, "1 kB")
        for error in bad_lines(partition)
    )


def blocks(path: str, blocksize: str) -> list[bytes]:
    read: Any = read_bytes
    _, (found,) = read(path, delimiter=b"\n", blocksize=blocksize, sample=False)
    return [block.compute(scheduler="sync") for block in found]


def bad_lines(partition: bytes) -> list[RecordError]:
    errors: list[RecordError] = []
    ndjson.StreamDecoder(on_error=errors.append).feed(partition)
    return errors


@pytest.mark.usefixtures("client")
def test_stats_count_bad_records(mixed: str) -> None:
    report = chatcodec_dask.stats(mixed, "1 kB").compute()
    assert (report.records, report.bad) == (100, 50)


@pytest.mark.usefixtures("client")
def test_a_byte_order_mark_is_skipped_where_the_file_starts_and_nowhere_else(tmp_path: Path) -> None:
    path = written(tmp_path / "marked.ndjson", BOM + GOOD, *[BOM + GOOD, GOOD] * 20)
    for blocksize in (40, 100, None):
        report = chatcodec_dask.stats(str(path), blocksize).compute()
        assert (report.records, report.bad) == (21, 20)


@pytest.mark.usefixtures("client")
def test_lines_longer_than_blocks_are_whole(tmp_path: Path) -> None:
    path = written(tmp_path / "long.ndjson", GOOD, b'{"sessionId":"%b"}' % (b"x" * 5000), GOOD)
    bag = chatcodec_dask.read_ndjson(str(path), ChatCompletionResponse, 100)
    assert [len(record.session_id or "") for record in bag.compute()] == [0, 5000, 0]


@pytest.mark.usefixtures("client")
def test_empty_files_are_no_records(tmp_path: Path) -> None:
    path = str(written(tmp_path / "empty.ndjson"))
    for scheduler in (None, "sync"):
        assert chatcodec_dask.read_ndjson(path).compute(scheduler=scheduler) == []
        assert chatcodec_dask.stats(path).compute(scheduler=scheduler).records == 0


@pytest.mark.usefixtures("client")
def test_a_last_line_needs_no_end(tmp_path: Path) -> None:
    path = tmp_path / "open.ndjson"
    path.write_bytes(GOOD + b"\n" + GOOD)
    assert chatcodec_dask.read_ndjson(str(path)).count().compute() == 2
    assert chatcodec_dask.stats(str(path)).compute().records == 2


@pytest.mark.usefixtures("client")
def test_compressed_files_are_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "deltas.ndjson.gz"
    path.write_bytes(gzip.compress(DELTAS.read_bytes()))
    assert chatcodec_dask.stats(str(path), None).compute().records == 632
    with pytest.raises(ValueError, match="blocksize=None"):
        chatcodec_dask.stats(str(path))


def test_a_name_without_files_is_refused() -> None:
    with pytest.raises(OSError, match="resolved to no files"):
        chatcodec_dask.read_ndjson("/nowhere/*.ndjson")


def test_any_file_system_of_fsspec_is_read(tmp_path: Path) -> None:
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.ndjson", RESPONSES.read_bytes())
    options = {"fo": str(archive)}
    bag = chatcodec_dask.read_ndjson("zip://*.ndjson", storage_options=options)
    assert bag.count().compute(scheduler="sync") == 75
    report = chatcodec_dask.stats("zip://*.ndjson", storage_options=options)
    assert report.compute(scheduler="sync").records == 75
