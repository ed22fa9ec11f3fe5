"""Files on a real cluster of two processes, on a disk and on an S3 server: every line once, whatever fails."""

# Dask's bags and clients have no types.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import gzip
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
from chatcodec import dask as chatcodec_dask

from .commands import BAD, COMPRESS, DELTAS, GOOD, REASON, RESPONSES, Capture, call, varied, written
from .recipes.serving import serving_wsgi
from .support import BOM

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment  # from Python 3.11 on

pytestmark = pytest.mark.extras

RECORDS = ndjson.StreamDecoder().feed(RESPONSES.read_bytes() + DELTAS.read_bytes())
IN_ORDER = [(record.generation_id, record.choices) for record in RECORDS]


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


def counted(path: Any, blocksize: Any = "64 MiB", scheduler: str | None = "sync") -> tuple[int, int]:
    """Return how many records and bad records `stats` counts."""
    report = chatcodec_dask.stats(str(path), blocksize).compute(scheduler=scheduler)
    return report.records, report.bad


def error_of(path: Any, blocksize: Any = "64 MiB", scheduler: str | None = "sync", **options: Any) -> RecordError:
    """Return what computing the records raises."""
    with pytest.raises(RecordError) as caught:
        chatcodec_dask.read_ndjson(str(path), blocksize=blocksize, **options).compute(scheduler=scheduler)
    assert isinstance(caught.value, StreamError) is (caught.value.kind == "incomplete")
    return caught.value


def encoded(record: Envelope) -> tuple[str | None, Any]:
    return record.generation_id, json.decode_choices(record.choices)


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("blocksize", [9_973, "0.1 MiB", "64 MiB", None])
def test_each_record_comes_once_and_in_order_however_files_are_cut(blocksize: Any) -> None:
    bag = chatcodec_dask.read_ndjson([str(RESPONSES), str(DELTAS)], blocksize=blocksize)
    assert bag.map(encoded).compute() == IN_ORDER


@pytest.mark.usefixtures("client")
def test_records_of_the_type_asked_for_travel_between_processes() -> None:
    first, *_ = chatcodec_dask.read_ndjson(str(RESPONSES)).take(1)
    assert type(first) is Envelope
    assert json.decode_choices(first.choices) == RECORDS[0].choices
    whole = chatcodec_dask.read_ndjson(str(RESPONSES), ChatCompletionResponse, "50 kB").compute()
    assert whole == RECORDS[: len(whole)]
    lines = chatcodec_dask.read_ndjson(str(RESPONSES), bytes, "50 kB").compute()
    assert b"\n".join(lines) + b"\n" == RESPONSES.read_bytes()
    raws = chatcodec_dask.read_ndjson(str(RESPONSES), msgspec.Raw).take(2)
    assert [json.decode(raw) for raw in raws] == RECORDS[:2]
    # A cluster rejects what it takes for larger than its memory.
    assert [sizeof(raw) for raw in raws] == [len(raw) for raw in raws]


@pytest.mark.usefixtures("client")
def test_a_type_that_other_processes_cannot_import_is_a_type_error(tmp_path: Path) -> None:
    class Answer(ChatCompletionResponse):
        region: str | None = None

    bag = chatcodec_dask.read_ndjson(str(written(tmp_path / "eu.ndjson", b'{"region":"eu"}')), Answer)
    with pytest.raises(TypeError, match=r"^Answer came to this process without its fields"):
        bag.compute()
    assert bag.compute(scheduler="sync") == [Answer(region="eu")]


def test_files_in_memory_are_read_by_many_threads() -> None:
    lines = b"".join(b'{"cost":%d,"sessionId":"s%d"}\n' % (number % 7, number) for number in range(180_000))
    fsspec.filesystem("memory").pipe("/many.ndjson", lines)
    report = chatcodec_dask.stats("memory://many.ndjson", 400_000).compute(scheduler="threads", num_workers=8)
    assert (report.records, report.bad, report.cost.total) == (180_000, 0, 539_995)


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("blocksize", [5_000, "0.2 MiB", "3 MiB", None])
def test_stats_are_those_of_the_command(capfd: Capture, tmp_path: Path, blocksize: Any) -> None:
    pattern, estimated = str(RESPONSES.parent / "*.ndjson"), varied(tmp_path / "varied.ndjson")
    for urlpath, files in (pattern, [RESPONSES, DELTAS]), (str(estimated), [estimated]):
        report = chatcodec_dask.stats(urlpath, blocksize).compute()
        assert report.records == (707 if urlpath == pattern else 40 * 632)
        assert (report.quantile_error > 0) is (urlpath != pattern)
        assert msgspec.json.encode(report).decode() == call(capfd, "stats", "--json", *files).out.strip()


# Lines of any length, good, bad and blank, some with a byte order mark: a block can begin anywhere in them.
LINES = st.lists(
    st.one_of(
        st.sampled_from([b"", b"\r", GOOD, BAD, BOM + GOOD, BOM, b"{", GOOD + b"\r", BAD + b"\r", b"\xe2\x80\xa8"]),
        st.integers(1, 40).map(lambda length: b'{"sessionId":"%b"}' % (b"x" * length)),
    ),
    max_size=6,
)


@given(lines=LINES, ended=st.booleans(), blocksize=st.integers(1, 90) | st.none())
@example(lines=[], ended=False, blocksize=90)
@example(lines=[BOM + GOOD, *[BOM + GOOD, GOOD] * 3], ended=True, blocksize=40)
@example(lines=[BOM + GOOD, *[BOM + GOOD, GOOD] * 3], ended=True, blocksize=None)
def test_partitions_give_what_the_whole_file_gives(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], ended: bool, blocksize: int | None
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.ndjson"
    path.write_bytes(b"\n".join(lines) + b"\n" * ended)
    records, bad, cut = whole(path.read_bytes())
    found: list[RecordError] = []
    bag = chatcodec_dask.read_ndjson(str(path), ChatCompletionResponse, blocksize, found.append)
    if cut is None:
        assert bag.compute(scheduler="sync") == records
        assert sorted(map(place, found)) == sorted((str(path), *place(error)[1:]) for error in bad)
    else:
        assert place(error_of(path, blocksize, on_error=print)) == (str(path), *place(cut)[1:])
    assert counted(path, blocksize) == (len(records), len(bad) + (cut is not None))


def whole(text: bytes) -> tuple[list[ChatCompletionResponse], list[RecordError], StreamError | None]:
    """Return the records of `text`, its bad records, and the error of its end."""
    bad: list[RecordError] = []
    decoder = ndjson.StreamDecoder(on_error=bad.append)
    records = decoder.feed(text)
    try:
        return records + decoder.finish(), bad, None
    except StreamError as cut:
        return records, bad, cut


def place(error: RecordError) -> tuple[Any, ...]:
    return error.path, error.offset, error.kind, error.unit, error.reason, error.data


def test_lines_longer_than_blocks_and_chunks_are_whole(tmp_path: Path) -> None:
    path = written(tmp_path / "long.ndjson", GOOD, b'{"sessionId":"%b"}' % (b"x" * 500_000), GOOD)
    bag = chatcodec_dask.read_ndjson(str(path), ChatCompletionResponse, 10_000)
    assert [len(record.session_id or "") for record in bag.compute(scheduler="sync")] == [0, 500_000, 0]


@pytest.fixture
def mixed(tmp_path: Path) -> str:
    """A file with bad records: one of every three."""
    return str(written(tmp_path / "mixed.ndjson", *[GOOD, BAD, b"", GOOD] * 50))


@pytest.mark.parametrize("blocksize", [300, None])
def test_a_bad_record_raises_its_error_with_its_place(mixed: str, scheduler: str | None, blocksize: int | None) -> None:
    with pytest.raises(RecordError, match=f"^{mixed} at offset 28, line 2 of its partition: ") as caught:
        chatcodec_dask.read_ndjson(mixed, blocksize=blocksize).to_delayed()[0].compute(scheduler=scheduler)
    assert place(caught.value) == (mixed, 28, "invalid", "line", REASON, BAD)
    assert caught.value.records == []


def test_an_index_counts_in_its_partition(tmp_path: Path) -> None:
    path = written(tmp_path / "even.ndjson", GOOD, GOOD, GOOD, BAD.ljust(len(GOOD)))
    for blocksize, index in (None, 4), (2 * len(GOOD) + 2, 2), (1, 1):
        error = error_of(path, blocksize)
        assert (error.index, error.offset) == (index, 3 * len(GOOD) + 3)


def test_an_error_has_the_codecs_as_its_cause(mixed: str) -> None:
    causes = []
    chatcodec_dask.read_ndjson(mixed, on_error=lambda error: causes.append(error.__cause__)).compute(scheduler="sync")
    assert [type(cause) for cause in causes] == [msgspec.ValidationError] * 50
    assert type(error_of(mixed).__cause__) is msgspec.ValidationError


def test_on_error_is_called_in_the_worker(tmp_path: Path, mixed: str, scheduler: str | None) -> None:
    def log(error: RecordError) -> None:
        with (tmp_path / "log").open("ab") as file:
            pickle.dump(error, file)

    bag = chatcodec_dask.read_ndjson(mixed, ChatCompletionResponse, "1 kB", on_error=log)
    assert bag.compute(scheduler=scheduler) == [ChatCompletionResponse(cost=1.5)] * 100
    period = len(GOOD + BAD + GOOD) + 4
    with (tmp_path / "log").open("rb") as file:
        logged = sorted(place(pickle.load(file)) for _ in range(50))
        assert file.read() == b""
    assert logged == [(mixed, 28 + period * number, "invalid", "line", REASON, BAD) for number in range(50)]


def test_an_error_that_on_error_raises_again_is_not_moved_twice(mixed: str) -> None:
    def again(error: RecordError) -> None:
        if error.offset > 1000:
            raise error

    error = error_of(mixed, 700, on_error=again)
    assert Path(mixed).read_bytes()[error.offset :].startswith(BAD)


def test_stats_count_the_errors_of_providers_apart(tmp_path: Path) -> None:
    errors = [b'{"message":"overloaded"}', b'null,"cost":2', b'"overloaded","cost":5', b'{"code":1},"cost":"x"']
    errors += [b'"\xff"', b'"x","error":null']
    path = written(tmp_path / "failed.ndjson", GOOD, *(b'{"error":%b}' % error for error in errors))
    report = chatcodec_dask.stats(str(path)).compute(scheduler="sync")
    assert (report.records, report.errors, report.bad, report.cost.total) == (3, 3, 1, 3.5)


def test_a_last_line_that_is_cut_breaks_off_reading_and_counts_as_bad(tmp_path: Path, scheduler: str | None) -> None:
    path = written(tmp_path / "cut.ndjson", GOOD + b"\n" + BAD + b"\n" + GOOD[:9], end=b"")
    error = error_of(path, 28, scheduler, on_error=print)
    assert (error.kind, error.path, error.offset, error.data) == ("incomplete", str(path), 41, GOOD[:9])
    assert error.records == []
    assert counted(path, 28, scheduler) == (1, 2)


@pytest.mark.parametrize("name", ["a.ndjson.gz", "a.ndjson.zst", "a.ndjson.GZ", "a.ndjson.ZST", "a.gz.1", "a.zst.1"])
def test_compressed_files_of_many_members_are_read_whole(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, COMPRESS["gz" if "gz" in name.lower() else "zst"](DELTAS.read_bytes()) * 2, end=b"")
    assert counted(path, None) == (2 * 632, 0)
    for read in chatcodec_dask.stats, chatcodec_dask.read_ndjson:
        with pytest.raises(ValueError, match="blocksize=None"):
            read(str(path))


@pytest.mark.parametrize("suffix", COMPRESS)
def test_an_offset_counts_decompressed_bytes(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"bad.ndjson.{suffix}", COMPRESS[suffix]((GOOD + b"\n") * 9_000 + BAD), end=b"")
    error = error_of(path, None)
    assert (error.path, error.offset, error.index) == (str(path), 9_000 * 28, 9_001)


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


def test_all_that_was_readable_before_a_cut_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path / "cut.ndjson.gz", gzip.compress(DELTAS.read_bytes())[:-1], end=b"")
    assert counted(path, None) == (632, 1)
    error = error_of(path, None)
    assert (error.index, error.offset) == (633, DELTAS.stat().st_size)


@pytest.mark.parametrize("suffix", COMPRESS)
def test_no_cut_of_a_compressed_file_passes_unseen(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.ndjson.{suffix}"
    compressed = COMPRESS[suffix](GOOD + b"\n" + GOOD)
    for length in range(2, len(compressed)):  # one byte is no gzip file
        path.write_bytes(compressed[:length])
        error = error_of(path, None, on_error=print)
        assert (error.kind, error.reason) == ("incomplete", "the compressed file ends early")
        assert counted(path, None)[1] == 1


@pytest.mark.parametrize("suffix", [*COMPRESS, "bz2"])
def test_an_empty_file_is_a_cut_compressed_one(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"empty.ndjson.{suffix}"
    path.touch()
    error = error_of(path, None)
    assert (error.kind, error.reason) == ("incomplete", "the compressed file ends early")
    assert (error.index, error.offset) == (1, 0)


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("garbage", ["before", "after"])
def test_a_damaged_file_is_named(tmp_path: Path, suffix: str, garbage: str) -> None:
    good = COMPRESS[suffix](GOOD + b"\n")
    data = b"garbage, " + good if garbage == "before" else good + b"garbage, and more of it"
    path = written(tmp_path / f"damaged.ndjson.{suffix}", data, end=b"")
    for read in chatcodec_dask.read_ndjson, chatcodec_dask.stats:
        with pytest.raises(OSError, match=f"^{path} cannot be read: "):
            read(str(path), blocksize=None).compute(scheduler="sync")


def test_a_file_that_has_become_shorter_is_an_error(mixed: str) -> None:
    reports = [chatcodec_dask.stats(mixed, blocksize) for blocksize in ("1 kB", None)]
    os.truncate(mixed, 2000)
    for report in reports:
        with pytest.raises(OSError, match=f"^{mixed} has become shorter"):
            report.compute(scheduler="sync")


def test_a_last_line_that_has_become_longer_is_whole(tmp_path: Path) -> None:
    path = written(tmp_path / "growing.ndjson", GOOD + b"\n" + GOOD[:9], end=b"")
    bag = chatcodec_dask.read_ndjson(str(path), ChatCompletionResponse)
    with path.open("ab") as file:
        file.write(GOOD[9:] + b"\n" + GOOD + b"\n")
    assert bag.compute(scheduler="sync") == [ChatCompletionResponse(cost=1.5)] * 2


@pytest.mark.parametrize(
    "urlpath", ["/nowhere/*.ndjson", "/nowhere/a.ndjson", ["/nowhere/a.ndjson"], [str(DELTAS), "/nowhere/*"]]
)
def test_a_name_without_files_is_an_error(urlpath: str | list[str]) -> None:
    for read in chatcodec_dask.read_ndjson, chatcodec_dask.stats:
        with pytest.raises(FileNotFoundError, match="/nowhere/"):
            read(urlpath)


def test_arguments_that_name_nothing_are_rejected(mixed: str) -> None:
    with pytest.raises(ValueError, match="no path"):
        chatcodec_dask.stats([])
    with pytest.raises(ValueError, match="blocksize is '0 MiB'"):
        chatcodec_dask.read_ndjson(mixed, blocksize="0 MiB")


def test_patterns_match_files_and_no_directories(tmp_path: Path) -> None:
    (tmp_path / "c.ndjson").mkdir()
    written(tmp_path / "b.ndjson", b'{"cost":2}')
    written(tmp_path / "a.ndjson", b'{"cost":1}')
    bag = chatcodec_dask.read_ndjson(str(tmp_path / "*.ndjson"))
    assert bag.map(lambda record: record.cost).compute(scheduler="sync") == [1.0, 2.0]


class Server:
    """An S3 server, in front of which requests can fail."""

    def __init__(self) -> None:
        self.s3: WSGIApplication = DomainDispatcherApplication(create_backend_app)
        self.fault: Callable[[int], str | None] = lambda _: None
        self.numbers = count()
        self.options = {"key": "key", "secret": "secret"}  # what fsspec needs to reach it

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request, or fail it."""
        reading = environ["REQUEST_METHOD"] == "GET"
        fault = self.fault(next(self.numbers)) if reading else None
        if fault == "500":
            return Response("<Error><Code>InternalError</Code></Error>", 500)(environ, start_response)
        body = b"".join(self.s3(environ, start_response))
        return [body[: len(body) // 2] if fault == "cut" else body]

    def failing(self, fault: Callable[[int], str | None]) -> None:
        """Fail requests from now on, whose numbers start at 0."""
        self.numbers = count()
        self.fault = fault


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """An S3 server with the sample in the bucket `logs`."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    application = Server()
    with serving_wsgi(application) as url:
        application.options["endpoint_url"] = url
        files = fsspec.filesystem("s3", **application.options)
        files.mkdir("logs")
        for path in RESPONSES, DELTAS:
            files.pipe(f"logs/sample/{path.name}", path.read_bytes())
        yield application


@pytest.fixture
def s3(server: Server) -> Iterator[Server]:
    """The server, which fails at nothing before and after a test."""
    yield server
    server.failing(lambda _: None)


SAMPLE = ["s3://logs/sample/responses.ndjson", "s3://logs/sample/deltas.ndjson"]


def check_whole_sample(options: dict[str, Any], blocksize: Any) -> None:
    bag = chatcodec_dask.read_ndjson(SAMPLE, blocksize=blocksize, storage_options=options)
    assert bag.map(encoded).compute() == IN_ORDER


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("fault", ["500", "cut"])
def test_requests_that_fail_now_and_then_are_sent_again(s3: Server, fault: str) -> None:
    failed = []

    def every_fifth(number: int) -> str | None:
        if number % 5 == 4:
            failed.append(number)
            return fault
        return None

    s3.failing(every_fifth)
    check_whole_sample(s3.options, "40 kB")
    assert failed


def test_a_request_that_keeps_failing_is_an_error(s3: Server) -> None:
    options = {**s3.options, "config_kwargs": {"retries": {"total_max_attempts": 1}}}
    report = chatcodec_dask.stats(SAMPLE, storage_options=options)
    s3.failing(lambda _: "500")
    with pytest.raises(OSError, match="InternalError"):
        report.compute(scheduler="sync")


@pytest.mark.parametrize("what", ["records", "stats"])
def test_no_record_is_lost_or_doubled_when_a_worker_is_killed(client: Client, s3: Server, what: str) -> None:
    victim = min(processes(client))

    def kill(number: int) -> str | None:
        if number == 3:
            os.kill(victim, signal.SIGKILL)
        return None

    s3.failing(kill)
    if what == "records":
        check_whole_sample(s3.options, "20 kB")
    else:
        report = chatcodec_dask.stats(SAMPLE, "20 kB", s3.options).compute()
        assert (report.records, report.bad, report.cost.count) == (707, 0, 75 + 13)
    client.wait_for_workers(2, timeout=30)
    assert victim not in processes(client)


def processes(client: Client) -> list[int]:
    run: Any = client.run
    return list(run(os.getpid).values())


def test_objects_are_read_as_they_are_when_asked_for(s3: Server) -> None:
    files = fsspec.filesystem("s3", **s3.options)
    other = fsspec.filesystem("s3", **s3.options, skip_instance_cache=True)
    for records in 3, 5:
        other.pipe(f"logs/growing/{records}.ndjson", (GOOD + b"\n") * records)
        report = chatcodec_dask.stats("s3://logs/growing/*", storage_options=s3.options)
        assert report.compute(scheduler="sync").records == sum(range(3, records + 1, 2))
    files.rm("logs/growing", recursive=True)


@pytest.fixture(params=["disk", "memory", "zip", "zip in a chain", "cache", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """A pattern of two files, the second of which has a bad record, and what fsspec needs to reach them."""
    files = {"a.ndjson": GOOD + b"\n", "b.ndjson": (GOOD + b"\n") * 7 + BAD + b"\n" + GOOD}
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for name, data in files.items():
            archive.write(written(tmp_path / name, data, end=b""), name)
    fsspec.filesystem("memory").pipe({f"/logs/{name}": data for name, data in files.items()})
    if request.param == "s3":
        options = request.getfixturevalue("s3").options
        fsspec.filesystem("s3", **options).pipe({f"logs/two/{name}": data for name, data in files.items()})
        return "s3://logs/two/*.ndjson", options
    stores: dict[str, tuple[str, dict[str, Any]]] = {
        "disk": (f"{tmp_path}/*.ndjson", {}),
        "cache": (f"simplecache::file://{tmp_path}/*.ndjson", {}),
        "memory": ("memory://logs/*.ndjson", {}),
        "zip": ("zip://*.ndjson", {"fo": f"{tmp_path}/archive.zip"}),
        "zip in a chain": (f"zip://*.ndjson::file://{tmp_path}/archive.zip", {}),
    }
    return stores[request.param]


@pytest.mark.parametrize("blocksize", [30, "64 MiB", None])
def test_any_file_can_be_opened_again_where_its_error_is(store: tuple[str, dict[str, Any]], blocksize: Any) -> None:
    urlpath, options = store
    assert chatcodec_dask.stats(urlpath, blocksize, options).compute(scheduler="sync").records == 9
    error = error_of(urlpath, blocksize, storage_options=options)
    assert error.path is not None
    opened: Any = fsspec.open(error.path, **options)
    with opened as file:
        file.seek(error.offset)
        assert file.readline() == BAD + b"\n"


def test_each_url_of_a_list_is_looked_up_in_its_own_archive(tmp_path: Path) -> None:
    for name in "ab":
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("log.ndjson", b'{"sessionId":"%b"}\n' % name.encode())
    bag = chatcodec_dask.read_ndjson([f"zip://log.ndjson::{tmp_path}/{name}.zip" for name in "ab"])
    assert bag.map(lambda record: record.session_id).compute(scheduler="sync") == ["a", "b"]


def test_a_file_of_unknown_size_is_one_partition() -> None:
    def log(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [])
        return iter([GOOD + b"\n"] * 100)

    with serving_wsgi(log) as url:
        bag = chatcodec_dask.read_ndjson(f"{url}/log", blocksize=100)
        assert (bag.npartitions, bag.count().compute(scheduler="sync")) == (1, 100)
