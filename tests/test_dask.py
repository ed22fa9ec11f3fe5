"""Files on a real cluster of two processes, on a disk and on an S3 server: every line once, whatever fails."""

# Dask's bags and clients have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import bz2
import logging
import os
import pickle
import signal
import zipfile
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec  # type: ignore[import-untyped]
import msgspec
import pytest
from dask.sizeof import sizeof
from distributed import Client, LocalCluster
from hypothesis import example, given
from hypothesis import strategies as st
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.wrappers import Response

from chatcodec import ChatCompletionResponse, Envelope, RecordError, StreamError, json, ndjson
from chatcodec.dask import read_ndjson, stats

from .commands import BAD, COMPRESS, DELTAS, GOOD, REASON, RESPONSES, call, varied, written
from .recipes.serving import serving_wsgi
from .support import BOM, LINES, Bad, errors_of, outcome_of_callback

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment  # from Python 3.11 on

pytestmark = pytest.mark.extras

PATTERN = str(DELTAS.parent / "*.ndjson")
RECORDS = ndjson.StreamDecoder().feed(DELTAS.read_bytes() + RESPONSES.read_bytes())


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A cluster of two worker processes, which computes whatever asks for no other scheduler."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=0) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(params=["cluster", "sync"])
def scheduler(request: pytest.FixtureRequest) -> str | None:
    """What computes: the workers, and this process too, where the coverage is measured."""
    if request.param == "cluster":
        request.getfixturevalue("client")
        return None
    return "sync"


def counted(path: Any, blocksize: Any = None, scheduler: str | None = "sync") -> tuple[int, int]:
    """Return how many records and bad records `stats` counts."""
    report = stats(str(path), blocksize).compute(scheduler=scheduler)
    return report.records, report.bad


def error_of(path: Any, blocksize: Any = None, scheduler: str | None = "sync", **options: Any) -> RecordError:
    """Return what computing the records raises."""
    with pytest.raises(RecordError) as caught:
        read_ndjson(str(path), blocksize=blocksize, **options).compute(scheduler=scheduler)
    assert isinstance(caught.value, StreamError) is (caught.value.kind == "incomplete")
    assert caught.value.records == []
    return caught.value


def check_sample(urlpath: str, blocksize: Any, options: dict[str, Any] | None = None) -> None:
    """Check that each record of the sample comes once and in order."""
    bag = read_ndjson(urlpath, blocksize=blocksize, storage_options=options)
    pairs = bag.map(lambda record: (record.generation_id, json.decode_choices(record.choices)))
    assert pairs.compute() == [(record.generation_id, record.choices) for record in RECORDS]


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("blocksize", [9_973, "0.1 MiB", "64 MiB", None])
def test_each_record_comes_once_and_in_order_however_files_are_cut(blocksize: Any) -> None:
    check_sample(PATTERN, blocksize)


@pytest.mark.usefixtures("client")
def test_records_of_the_type_asked_for_travel_between_processes() -> None:
    first, *_ = read_ndjson(str(DELTAS)).take(1)
    assert type(first) is Envelope
    assert json.decode_choices(first.choices) == RECORDS[0].choices
    assert read_ndjson(str(DELTAS), ChatCompletionResponse, "50 kB").compute() == RECORDS[:632]
    lines = read_ndjson(str(DELTAS), bytes, "50 kB").compute()
    assert b"\n".join(lines) + b"\n" == DELTAS.read_bytes()
    raws = read_ndjson(str(DELTAS), msgspec.Raw).take(2)
    assert [json.decode(raw) for raw in raws] == RECORDS[:2]
    # A cluster rejects what it takes for larger than its memory.
    assert [sizeof(raw) for raw in raws] == [len(raw) for raw in raws]


@pytest.mark.usefixtures("client")
def test_a_type_that_other_processes_cannot_import_is_a_type_error(tmp_path: Path) -> None:
    class Answer(ChatCompletionResponse):
        region: str | None = None

    bag = read_ndjson(str(written(tmp_path / "eu.ndjson", b'{"region":"eu"}')), Answer)
    with pytest.raises(TypeError, match=r"^Answer came to this process without its fields"):
        bag.compute()
    assert bag.compute(scheduler="sync") == [Answer(region="eu")]


def test_files_in_memory_are_read_by_many_threads() -> None:
    lines = b"".join(b'{"cost":%d,"sessionId":"s%d"}\n' % (number % 7, number) for number in range(180_000))
    fsspec.filesystem("memory").pipe("/many.ndjson", lines)
    report = stats("memory://many.ndjson", 400_000).compute(scheduler="threads", num_workers=8)
    assert (report.records, report.bad, report.cost.total) == (180_000, 0, 539_995)


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("blocksize", [5_000, "0.2 MiB", "3 MiB", None])
def test_stats_are_those_of_the_command(tmp_path: Path, blocksize: Any) -> None:
    estimated = varied(tmp_path / "varied.ndjson")
    failed = written(tmp_path / "failed.ndjson", GOOD, BAD, b'{"error":"\xff","cost":5}', b'{"error":null,"cost":2}')
    for urlpath, files in (PATTERN, [DELTAS, RESPONSES]), (str(estimated), [estimated]), (str(failed), [failed]):
        report = stats(urlpath, blocksize).compute()
        assert (report.quantile_error > 0) is (files == [estimated])
        assert msgspec.json.encode(report).decode() == call("stats", "--json", *files).out.strip()


# Lines of any length, good, bad and blank, some with a byte order mark: a block can begin anywhere in them.
KINDS = [b"", b"\r", GOOD, BAD, BOM + GOOD, BOM, b"{", GOOD + b"\r", BAD + b"\r", b"\xe2\x80\xa8"]
LENGTHS = [b'{"sessionId":"%b"}' % (b"x" * length) for length in range(1, 41)]
ANY_LINES = st.lists(st.sampled_from(KINDS) | st.sampled_from(LENGTHS), max_size=6)


@given(lines=ANY_LINES, ended=st.booleans(), blocksize=st.integers(1, 90) | st.none())
@example(lines=[], ended=False, blocksize=90)
@example(lines=[BOM + GOOD, *[BOM + GOOD, GOOD] * 3], ended=True, blocksize=40)
@example(lines=[BOM + GOOD, *[BOM + GOOD, GOOD] * 3], ended=True, blocksize=None)
@example(lines=[GOOD, b'{"sessionId":"%b"}' % (b"x" * 500_000), BAD], ended=False, blocksize=10_000)
def test_partitions_give_what_the_whole_file_gives(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], ended: bool, blocksize: int | None
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.ndjson"
    path.write_bytes(b"\n".join(lines) + b"\n" * ended)
    whole = outcome_of_callback(LINES, [path.read_bytes()])
    expected = list(map(place, errors_of(whole)))
    records = whole[: len(whole) - len(expected)]
    assert counted(path, blocksize) == (len(records), len(expected))
    found: list[RecordError] = []
    if expected and expected[-1][1] == "incomplete":
        assert place(error_of(path, blocksize, on_error=print)) == expected[-1]
    else:
        bag = read_ndjson(str(path), ChatCompletionResponse, blocksize, found.append)
        assert bag.compute(scheduler="sync") == records
        assert sorted(map(place, found)) == expected
    if expected:
        found.append(error_of(path, blocksize))
        assert place(found[-1]) in expected
    assert {error.path for error in found} <= {str(path)}
    assert {type(error.__cause__) for error in found} <= {msgspec.DecodeError, msgspec.ValidationError}


def place(error: RecordError | Bad) -> tuple[Any, ...]:
    return error.offset, error.kind, error.unit, error.reason, error.data


def test_a_bad_record_raises_its_error_with_its_place(tmp_path: Path, scheduler: str | None) -> None:
    bad = BAD.ljust(len(GOOD))
    path = written(tmp_path / "even.ndjson", GOOD, GOOD, GOOD, bad)
    for blocksize, index in (None, 4), (56, 2), (28, 1):
        error = error_of(path, blocksize, scheduler)
        assert (*place(error), error.index) == (84, "invalid", "line", REASON, bad, index)
        assert str(error).startswith(f"{path} at offset 84, line {index} of its partition: ")


def test_on_error_is_called_in_the_worker(tmp_path: Path, scheduler: str | None) -> None:
    def log(error: RecordError) -> None:
        with (tmp_path / "log").open("ab") as file:
            pickle.dump(error, file)

    path = written(tmp_path / "mixed.ndjson", *[GOOD, BAD, b"", GOOD] * 50)
    bag = read_ndjson(str(path), ChatCompletionResponse, "1 kB", on_error=log)
    assert bag.compute(scheduler=scheduler) == [ChatCompletionResponse(cost=1.5)] * 100
    with (tmp_path / "log").open("rb") as file:
        logged = sorted(place(pickle.load(file)) for _ in range(50))
        assert file.read() == b""
    assert logged == [(28 + 70 * number, "invalid", "line", REASON, BAD) for number in range(50)]


@pytest.mark.parametrize("name", ["a.ndjson.gz", "a.ndjson.zst", "a.ndjson.GZ", "a.ndjson.ZST", "a.gz.1", "a.zst.1"])
def test_compressed_files_of_many_members_are_read_whole(tmp_path: Path, name: str) -> None:
    compress = COMPRESS["gz" if "gz" in name.lower() else "zst"]
    path = written(tmp_path / name, *[compress(DELTAS.read_bytes())] * 2, compress(BAD), end=b"")
    assert counted(path) == (2 * 632, 1)
    error = error_of(path)
    assert (error.path, error.offset, error.index) == (str(path), 2 * DELTAS.stat().st_size, 2 * 632 + 1)
    for read in stats, read_ndjson:
        with pytest.raises(ValueError, match="blocksize=None"):
            read(str(path))
    os.truncate(path, path.stat().st_size - 1)
    assert counted(path)[0] == 2 * 632


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_compressed_file_that_is_cut_is_reported_with_what_was_readable(
    tmp_path: Path, suffix: str, scheduler: str | None
) -> None:
    path = tmp_path / f"cut.ndjson.{suffix}"
    text = varied(tmp_path / "varied.ndjson").read_bytes()
    compressed = COMPRESS[suffix](text)
    path.write_bytes(compressed[: len(compressed) // 2])
    error = error_of(path, None, scheduler, on_error=print)
    assert (error.kind, error.path, error.reason) == ("incomplete", str(path), "the compressed file ends early")
    assert error.index - 1 == text[: error.offset].count(b"\n")
    assert counted(path, None, scheduler) == (error.index - 1, 1)
    # Some is lost in the buffers of the decompressor.
    assert len(text) * 0.4 < error.offset < len(text) * 0.6


@pytest.mark.parametrize("suffix", [*COMPRESS, "bz2"])
def test_no_cut_of_a_compressed_file_passes_unseen(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.ndjson.{suffix}"
    text = (GOOD + b"\n") * 2
    compressed = {**COMPRESS, "bz2": bz2.compress}[suffix](text)
    for length in (0, *range(2, len(compressed))):  # one byte is no gzip file
        path.write_bytes(compressed[:length])
        error = error_of(path, on_error=print)
        assert (error.kind, error.reason) == ("incomplete", "the compressed file ends early")
        assert error.index - 1 == text[: error.offset].count(b"\n")
        assert counted(path) == (round(error.offset / 28), 1)


@pytest.mark.parametrize("suffix", COMPRESS)
def test_a_damaged_file_is_named(tmp_path: Path, suffix: str) -> None:
    good = COMPRESS[suffix](GOOD + b"\n")
    for data in b"garbage, " + good, good + b"garbage, and more of it":
        path = written(tmp_path / f"damaged.ndjson.{suffix}", data, end=b"")
        for read in read_ndjson, stats:
            with pytest.raises(OSError, match=f"^{path} cannot be read: "):
                read(str(path), blocksize=None).compute(scheduler="sync")


def test_a_file_that_has_become_shorter_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path / "log.ndjson", *[GOOD] * 100)
    reports = [stats(str(path), blocksize) for blocksize in ("1 kB", None)]
    os.truncate(path, 2000)
    for report in reports:
        with pytest.raises(OSError, match=f"^{path} has become shorter"):
            report.compute(scheduler="sync")


def test_a_last_line_that_has_become_longer_is_whole(tmp_path: Path) -> None:
    path = written(tmp_path / "growing.ndjson", GOOD + b"\n" + GOOD[:9], end=b"")
    bag = read_ndjson(str(path), ChatCompletionResponse)
    with path.open("ab") as file:
        file.write(GOOD[9:] + b"\n" + GOOD + b"\n")
    assert bag.compute(scheduler="sync") == [ChatCompletionResponse(cost=1.5)] * 2


@pytest.mark.parametrize("read", [read_ndjson, stats])
def test_arguments_that_name_nothing_are_rejected(read: Any) -> None:
    for urlpath in "/nowhere/*.ndjson", "/nowhere/a.ndjson", ["/nowhere/a.ndjson"], [str(DELTAS), "/nowhere/*"]:
        with pytest.raises(FileNotFoundError, match="/nowhere/"):
            read(urlpath)
    with pytest.raises(ValueError, match="no path"):
        read([])
    with pytest.raises(ValueError, match="blocksize is '0 MiB'"):
        read(str(DELTAS), blocksize="0 MiB")


class Server:
    """An S3 server, in front of which requests to read can fail."""

    def __init__(self) -> None:
        self.s3: WSGIApplication = DomainDispatcherApplication(create_backend_app)
        self.fault: Callable[[], str | None] = lambda: None
        self.options = {"key": "key", "secret": "secret"}  # what fsspec needs to reach it

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, or fail it."""
        fault = self.fault() if environ["REQUEST_METHOD"] == "GET" else None
        if fault == "500":
            return Response("<Error><Code>InternalError</Code></Error>", 500)(environ, start_response)
        body = b"".join(self.s3(environ, start_response))
        return [body[: len(body) // 2] if fault == "cut" else body]


@pytest.fixture(scope="module")
def s3() -> Iterator[Server]:
    """An S3 server with the sample in the bucket `logs`."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = Server()
    with serving_wsgi(server) as url:
        server.options["endpoint_url"] = url
        files = fsspec.filesystem("s3", **server.options)
        files.mkdir("logs")
        files.put(PATTERN, "logs/sample/")
        yield server


SAMPLE = "s3://logs/sample/*.ndjson"


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("fault", ["500", "cut"])
def test_failed_requests_are_sent_again(monkeypatch: pytest.MonkeyPatch, s3: Server, fault: str) -> None:
    numbers = count()
    monkeypatch.setattr(s3, "fault", lambda: fault if next(numbers) % 5 == 4 else None)
    check_sample(SAMPLE, "40 kB", s3.options)
    assert next(numbers) >= 5  # so one has failed


def test_a_request_that_keeps_failing_is_an_error(monkeypatch: pytest.MonkeyPatch, s3: Server) -> None:
    options = {**s3.options, "config_kwargs": {"retries": {"total_max_attempts": 1}}}
    report = stats(SAMPLE, storage_options=options)
    monkeypatch.setattr(s3, "fault", lambda: "500")
    with pytest.raises(OSError, match="InternalError"):
        report.compute(scheduler="sync")


@pytest.mark.parametrize("what", ["records", "stats"])
def test_no_record_is_lost_or_doubled_when_a_worker_is_killed(
    monkeypatch: pytest.MonkeyPatch, client: Client, s3: Server, what: str
) -> None:
    run: Any = client.run  # its type has a coroutine too, for clients that are asynchronous
    victim, numbers = min(run(os.getpid).values()), count()

    def kill() -> None:
        if next(numbers) == 3:
            os.kill(victim, signal.SIGKILL)

    monkeypatch.setattr(s3, "fault", kill)
    if what == "records":
        check_sample(SAMPLE, "20 kB", s3.options)
    else:
        report = stats(SAMPLE, "20 kB", s3.options).compute()
        assert (report.records, report.bad, report.cost.count) == (707, 0, 75 + 13)
    client.wait_for_workers(2, timeout=30)
    assert victim not in run(os.getpid).values()


def test_objects_are_read_as_they_are_when_asked_for(s3: Server) -> None:
    other = fsspec.filesystem("s3", **s3.options, skip_instance_cache=True)
    for records, total in (3, 3), (5, 8):
        other.pipe(f"logs/growing/{records}.ndjson", (GOOD + b"\n") * records)
        report = stats("s3://logs/growing/*", storage_options=s3.options)
        assert report.compute(scheduler="sync").records == total


DISK, MEMORY, S3, ZIP = "file://{}/*.ndjson", "memory://logs/*.ndjson", "s3://logs/two/*.ndjson", "zip://*.ndjson"
STORES = [DISK, DISK[7:], MEMORY, S3, ZIP, ZIP + "::file://{}/a.zip", "simplecache::" + DISK]


@pytest.mark.parametrize("blocksize", [30, "64 MiB", None])
@pytest.mark.parametrize("urlpath", STORES)
def test_a_file_can_be_opened_where_its_error_is(tmp_path: Path, s3: Server, urlpath: str, blocksize: Any) -> None:
    (tmp_path / "c.ndjson").mkdir()  # no file
    options: Any = {ZIP: {"fo": f"{tmp_path}/a.zip"}, S3: s3.options}.get(urlpath, {})
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, lines in ("a.ndjson", [GOOD]), ("b.ndjson", [*[GOOD] * 7, BAD, GOOD]):
            path = written(tmp_path / name, *lines)
            archive.write(path, name)
            fsspec.filesystem("memory").pipe(f"/logs/{name}", path.read_bytes())
            fsspec.filesystem("s3", **s3.options).pipe(f"logs/two/{name}", path.read_bytes())
    urlpath = urlpath.format(tmp_path)
    assert stats(urlpath, blocksize, options).compute(scheduler="sync").records == 9
    error = error_of(urlpath, blocksize, storage_options=options)
    opened: Any = fsspec.open(error.path, **options)
    with opened as file:
        file.seek(error.offset)
        assert file.readline() == BAD + b"\n"


def test_each_url_of_a_list_is_looked_up_in_its_own_archive(tmp_path: Path) -> None:
    for name in "ab":
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("log.ndjson", b'{"sessionId":"%b"}\n' % name.encode())
    bag = read_ndjson([f"zip://log.ndjson::{tmp_path}/{name}.zip" for name in "ab"])
    assert bag.map(lambda record: record.session_id).compute(scheduler="sync") == ["a", "b"]


def test_a_file_of_unknown_size_is_one_partition() -> None:
    def log(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return iter([GOOD + b"\n"] * 100)

    with serving_wsgi(log) as url:
        bag = read_ndjson(f"{url}/log", blocksize=100)
        assert (bag.npartitions, bag.count().compute(scheduler="sync")) == (1, 100)
