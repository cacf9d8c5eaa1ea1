"""Data sets against a real server on loopback that also misbehaves."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import numpy as np
import pooch
import pytest

from offprint.core import data
from offprint.core._installed import UsageError
from offprint.core.data import (
    ChecksumError,
    DataError,
    Dataset,
    DownloadError,
    File,
    _dataset,
    _download,
    load_csv,
    load_npz,
)

BODY = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


@dataclass
class Behaviour:
    """What the server does, and what it was asked."""

    body: bytes = BODY
    ranges: bool = True
    statuses: list[int] = field(default_factory=list)
    """Answers to the next requests, in place of the file."""
    cuts: list[int] = field(default_factory=list)
    """Bytes after which the connection is dropped, for the next requests."""
    requests: list[str | None] = field(default_factory=list)
    """The Range header of each request."""


class Handler(BaseHTTPRequestHandler):
    behaviour: Behaviour

    def do_GET(self) -> None:
        behaviour = self.behaviour
        asked = self.headers.get("Range")
        behaviour.requests.append(asked)
        if behaviour.statuses:
            self.send_error(behaviour.statuses.pop(0))
            return
        start = 0
        if asked and behaviour.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(behaviour.body):
                self.send_error(416)
                return
            self.send_response(206)
            last = len(behaviour.body) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(behaviour.body)}")
        else:
            self.send_response(200)
        body = behaviour.body[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = behaviour.cuts.pop(0) if behaviour.cuts else len(body)
        self.wfile.write(body[:cut])
        # A connection that ends before Content-Length bytes is a dropped one.
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def server() -> Behaviour:
    Handler.behaviour = Behaviour()
    return Handler.behaviour


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; returns the folder of the data set 'noise' in it."""
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(_download, "PAUSE", 0.01)
    monkeypatch.delenv("OFFPRINT_DATA", raising=False)
    return tmp_path / "cache" / "offprint" / "data" / "noise"


def noise(address: str, sha256: str = SHA256, size: int | None = None) -> Dataset:
    file = File("noise.bin", f"{address}/noise.bin", sha256, size)
    return Dataset("noise", "random bytes", (file,), "CC0-1.0", "Nobody, 2026", "https://example.org")


def test_downloads_once_and_keeps_nothing_else(address: str, server: Behaviour, cache: Path) -> None:
    dataset = noise(address)
    assert dataset.where("noise.bin") is None
    assert dataset.fetch() == [cache / "noise.bin"]
    assert dataset.path("noise.bin").read_bytes() == BODY
    assert dataset.where("noise.bin") == cache / "noise.bin"
    assert server.requests == [None]
    assert [path.name for path in cache.iterdir() if not path.name.startswith(".")] == ["noise.bin"]


def test_reports_progress(address: str, server: Behaviour) -> None:
    seen: list[tuple[str, int, int | None]] = []
    noise(address).path("noise.bin", lambda *report: seen.append(report))
    assert seen[-1] == ("noise.bin", len(BODY), len(BODY))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_dropped_connections_are_resumed_by_range(address: str, server: Behaviour) -> None:
    server.cuts = [1_000_000, 0, 700_000]
    assert noise(address).path("noise.bin").read_bytes() == BODY
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in server.requests[1:] if asked]
    # All that arrived is kept, but for what was in flight.
    assert len(starts) == 3
    assert 1_000_000 - _download.BLOCK < starts[0] <= 1_000_000
    assert starts[1] == starts[0]
    assert 700_000 - _download.BLOCK < starts[2] - starts[1] <= 700_000


def test_a_server_without_ranges_is_asked_from_the_start(address: str, server: Behaviour) -> None:
    server.ranges = False
    server.cuts = [1_000_000, 500_000]
    assert noise(address).path("noise.bin").read_bytes() == BODY
    assert len(server.requests) == 3


def test_gives_up_when_the_connection_always_drops(address: str, server: Behaviour, cache: Path) -> None:
    server.ranges = False
    server.cuts = [1000] * 50
    with pytest.raises(DownloadError, match=r"noise\.bin could not be downloaded"):
        noise(address).path("noise.bin")
    # The first attempt brought something, the TRIES - 1 after it did not.
    assert len(server.requests) == _download.TRIES
    assert not (cache / "noise.bin").exists()


def test_a_later_process_goes_on_where_an_earlier_one_stopped(address: str, server: Behaviour, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "noise.bin.part").write_bytes(BODY[:2_000_000])
    assert noise(address).path("noise.bin").read_bytes() == BODY
    assert server.requests == ["bytes=2000000-"]


def test_a_complete_remnant_is_used(address: str, server: Behaviour, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "noise.bin.part").write_bytes(BODY)
    assert noise(address).path("noise.bin").read_bytes() == BODY


@pytest.mark.parametrize("length", [1_000_000, len(BODY) + 10])
def test_a_remnant_of_another_file_is_thrown_away(address: str, server: Behaviour, cache: Path, length: int) -> None:
    cache.mkdir(parents=True)
    (cache / "noise.bin.part").write_bytes(bytes(length))
    assert noise(address).path("noise.bin").read_bytes() == BODY
    assert server.requests[-1] is None


def test_wrong_bytes_are_refused_and_not_kept(address: str, server: Behaviour, cache: Path) -> None:
    server.body = b"<html>please log in</html>"
    found = hashlib.sha256(server.body).hexdigest()
    with pytest.raises(ChecksumError, match=rf"noise\.bin.*expected sha256 {SHA256}, found {found}"):
        noise(address).path("noise.bin")
    assert [path for path in cache.iterdir() if not path.name.startswith(".")] == []


def test_a_damaged_cached_file_is_replaced(address: str, server: Behaviour, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "noise.bin").write_bytes(b"damaged")
    assert noise(address).path("noise.bin").read_bytes() == BODY


def test_a_server_error_is_tried_again(address: str, server: Behaviour) -> None:
    server.statuses = [500, 503]
    assert noise(address).path("noise.bin").read_bytes() == BODY
    assert len(server.requests) == 3


def test_a_server_that_stays_broken_is_given_up(address: str, server: Behaviour) -> None:
    server.statuses = [500] * 50
    with pytest.raises(DownloadError, match="the server answered 500"):
        noise(address).path("noise.bin")
    assert len(server.requests) == _download.TRIES


def test_a_missing_file_is_asked_for_once(address: str, server: Behaviour) -> None:
    server.statuses = [404]
    with pytest.raises(DownloadError, match="the server answered 404 Not Found"):
        noise(address).path("noise.bin")
    assert len(server.requests) == 1


def test_offline_says_what_to_put_where(cache: Path) -> None:
    dataset = noise("http://127.0.0.1:9")  # the discard port: nobody listens
    with pytest.raises(DownloadError) as caught:
        dataset.fetch()
    message = str(caught.value)
    for needed in ["http://127.0.0.1:9/noise.bin", "noise.bin", SHA256, str(cache), "OFFPRINT_DATA"]:
        assert needed in message
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "noise.bin").write_bytes(BODY)  # doing what the message says helps
    assert dataset.path("noise.bin") == cache / "noise.bin"


def test_many_threads_download_once(address: str, server: Behaviour) -> None:
    dataset, results = noise(address), []
    threads = [threading.Thread(target=lambda: results.append(dataset.fetch())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert server.requests == [None]


def test_a_folder_that_cannot_be_written_is_named(address: str, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the folder should be")
    with pytest.raises(DataError, match=rf"cannot be written to {cache}"):
        noise(address).path("noise.bin")


def test_local_folder_comes_first(
    address: str, server: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFPRINT_DATA", str(tmp_path))
    own = tmp_path / "noise" / "noise.bin"
    own.parent.mkdir()
    own.write_bytes(BODY)
    assert noise(address).path("noise.bin") == own
    assert noise(address).where("noise.bin") == own
    own.write_bytes(b"something else")
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(ChecksumError, match=rf"{own}.*expected sha256 {SHA256}, found {found}"):
        noise(address).path("noise.bin")
    repackaged = noise(address).files[0]
    repackaged = Dataset("noise", "noise", (replace(repackaged, accepts=(found,)),), "none", "nobody")
    assert repackaged.path("noise.bin") == own
    assert server.requests == []
    own.unlink()
    assert noise(address).path("noise.bin").read_bytes() == BODY


def test_local_folder_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFPRINT_DATA", str(tmp_path / "absent"))
    with pytest.raises(UsageError, match=r"OFFPRINT_DATA names .*absent, which is not a folder"):
        data.local_folder()


def test_terms_show_licence_and_reference(address: str) -> None:
    terms = noise(address).terms
    assert all(part in terms for part in ["CC0-1.0", "Nobody, 2026", "https://example.org"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../noise.bin"}, "it becomes a path"),
        ({"url": "ftp://example.org/x"}, "must begin with https://"),
        ({"sha256": "abc"}, "64 hexadecimal digits"),
        ({"accepts": ("abc",)}, "64 hexadecimal digits"),
    ],
)
def test_bad_file_descriptions(change: dict[str, str], message: str) -> None:
    good = {"name": "x.csv", "url": "https://example.org/x.csv", "sha256": "0" * 64}
    with pytest.raises(ValueError, match=message):
        File(**(good | change))


def test_bad_dataset_descriptions() -> None:
    file = File("x.csv", "https://example.org/x.csv", "0" * 64)
    with pytest.raises(ValueError, match="has no files"):
        Dataset("x", "", (), "", "")
    with pytest.raises(ValueError, match="two files of the same name"):
        Dataset("x", "", (file, file), "", "")
    with pytest.raises(UsageError, match=r"no file of data set 'x' called 'y\.csv'.*known: x\.csv"):
        Dataset("x", "", (file,), "", "").path("y.csv")


def advertise(monkeypatch: pytest.MonkeyPatch, **modules: object) -> None:
    class Entry(EntryPoint):
        def load(self) -> object:
            return modules[self.name]

    entries = [Entry(name, f"offprint.{name}.data", "offprint.data") for name in modules]
    monkeypatch.setattr(_dataset, "entry_points", lambda group: entries)


def test_all_datasets_come_from_entry_points(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    module, dataset = ModuleType("offprint.sound.data"), noise(address)
    module.DATASETS = [dataset]  # type: ignore[attr-defined]
    advertise(monkeypatch, sound=module)
    assert data.all_datasets() == {"sound": (dataset,)}
    assert data.find_dataset("noise") is dataset
    with pytest.raises(UsageError, match=r"no data set 'nois'; did you mean 'noise'\?"):
        data.find_dataset("nois")
    with pytest.raises(UsageError, match="known: noise"):
        data.find_dataset("zzz")


def test_a_package_without_datasets_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    advertise(monkeypatch, sound=ModuleType("offprint.sound.data"))
    with pytest.raises(DataError, match=r"data sets of sound \(offprint\.sound\.data\) cannot be listed"):
        data.all_datasets()


def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes) -> Dataset:
    monkeypatch.setenv("OFFPRINT_DATA", str(tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_bytes(content)
    file = File(name, f"https://example.org/{name}", hashlib.sha256(content).hexdigest())
    return Dataset("mine", "", (file,), "", "")


def test_loads_by_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = local(tmp_path, monkeypatch, "table.tsv", b"1\t2.5\n3\t4.5\n")
    columns = dataset.load("table.tsv", {"rating": float}, header=["user", "rating"])
    np.testing.assert_array_equal(columns["rating"], [2.5, 4.5])


def test_other_endings_are_for_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = local(tmp_path, monkeypatch, "model.mat", b"x")
    with pytest.raises(DataError, match=r"model\.mat is neither"):
        dataset.load("model.mat")


def test_npz_round_trip_and_refused_pickles(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    np.savez(path, x=np.arange(6.0).reshape(2, 3), names=np.array(["a", "b"]))
    arrays = load_npz(path)
    np.testing.assert_array_equal(arrays["x"], [[0, 1, 2], [3, 4, 5]])
    assert arrays["names"].tolist() == ["a", "b"]

    np.savez(path, x=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="pickled objects"):
        load_npz(path)
    np.save(tmp_path / "single.npy", np.arange(3))
    with pytest.raises(DataError, match="a single array"):
        load_npz(tmp_path / "single.npy")
    for damaged in [b"", b"not an archive", b"PK\x03\x04 cut off"]:
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"arrays\.npz"):
            load_npz(path)


def test_csv_types(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('id,score,who\n1,0.5,"Ada, L."\n2,nan,Bob\n\n')
    columns = load_csv(path)
    assert columns["id"].dtype == np.int64
    np.testing.assert_array_equal(columns["score"], [0.5, np.nan])
    assert columns["who"].tolist() == ["Ada, L.", "Bob"]
    chosen = load_csv(path, {"who": str, "id": np.float32})
    assert list(chosen) == ["who", "id"]
    assert chosen["id"].dtype == np.float32


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("", None, "is empty"),
        ("a,a\n1,2\n", None, "names a column twice: a, a"),
        ("a,b\n1,2\n", {"c": int}, "has no column c; it has a, b"),
        ("a,b\n1,2\n3\n", None, "line 3: 1 cells, but 2 columns"),
        ("a,b\n1,2\n3,x\n", {"b": float}, "line 3, column b: 'x' is not a float64"),
        ("a,b\n1,\n", {"b": int}, "line 2, column b: '' is not a int64"),
    ],
)
def test_csv_errors(tmp_path: Path, text: str, columns: dict[str, type] | None, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        load_csv(path, columns)
