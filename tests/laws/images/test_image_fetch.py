"""Remote image files: fetched once, kept only with their pinned hash, and failures are one sentence."""

import gc
import threading
from collections import Counter
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from planted_images import input_errors_into, parquet_config, write_pair
from weightspace.errors import InputError
from weightspace.images.build import build_image_set
from weightspace.images.settings import RemoteFile
from weightspace.images.tensors import TENSORS


class Server(ThreadingHTTPServer):
    """Sends `content` by path, 404 for other paths, and counts what it was asked for."""

    daemon_threads = True

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.asked = content, Counter()

    def remote(self, path, digest=None):
        url = f"http://127.0.0.1:{self.server_port}{path}"
        return RemoteFile(url=url, sha256=digest or sha256(self.content[path]).hexdigest())


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked[self.path] += 1
        content = self.server.content.get(self.path)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"") + 1000 * self.path.endswith("cut")))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    hub = tmp_path / "hub"
    hub.mkdir()
    write_pair(hub)
    content = {f"/{name}": (hub / f"{name}.parquet").read_bytes() for name in ("train", "test")}
    server = Server(content | {"/cut": content["/train"]})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
def test_a_remote_set_equals_the_local_one_and_is_fetched_once(tmp_path, server):
    config = parquet_config(train=server.remote("/train"), test=server.remote("/test"))
    local = build_image_set(parquet_config(), tmp_path / "hub")
    for _ in range(2):
        remote = build_image_set(config, tmp_path / "fetched")
        assert all(torch.equal(getattr(remote, name), getattr(local, name)) for name in TENSORS)
        assert remote.source_sha256 == local.source_sha256
    assert server.asked == {"/train": 1, "/test": 1}
    assert sorted(p.name for p in (tmp_path / "fetched").iterdir()) == sorted(
        f"{f.sha256[:16]}.parquet" for f in [*config.train, *config.test]
    )


def test_a_fetched_file_that_was_altered_is_fetched_again(tmp_path, server):
    config = parquet_config(train=server.remote("/train"), test=server.remote("/test"))
    before = build_image_set(config, tmp_path / "fetched")
    Path(tmp_path, "fetched", f"{config.train[0].sha256[:16]}.parquet").write_bytes(b"altered")
    assert torch.equal(build_image_set(config, tmp_path / "fetched").train_x, before.train_x)
    assert server.asked == {"/train": 2, "/test": 1}


def test_a_file_address_is_fetched_like_any_other(tmp_path, server):
    local = RemoteFile(url=(tmp_path / "hub" / "train.parquet").as_uri(), sha256=server.remote("/train").sha256)
    images = build_image_set(parquet_config(train=local, test=server.remote("/test")), tmp_path / "fetched")
    assert images.source_sha256 == build_image_set(parquet_config(), tmp_path / "hub").source_sha256


POOCH_LEAVES_THE_SOCKET_OPEN = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "digest", "says"),
    [
        ("/train", "0" * 64, "does not have the pinned sha256 " + "0" * 64),
        ("/absent", "0" * 64, "404"),
        pytest.param("/cut", None, "cannot be fetched", marks=POOCH_LEAVES_THE_SOCKET_OPEN),
    ],
)
def test_a_download_that_fails_says_so_in_one_sentence_and_leaves_no_file(tmp_path, server, path, digest, says):
    folder = tmp_path / "fetched"
    remote = server.remote(path, digest)
    messages = []
    with input_errors_into(messages):
        build_image_set(parquet_config(train=remote, test=server.remote("/test")), folder)
    gc.collect()  # pooch leaves the socket of a cut download to the collector, which may come in another test
    (message,) = messages
    assert message.startswith(f"train: {remote.url}: ")
    assert says in message
    assert "\n" not in message
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/train.parquet", "http://", "file:///absent.parquet"])
def test_an_address_that_cannot_be_fetched_is_named(tmp_path, url):
    with pytest.raises(InputError, match=f"^train: {url}: .*fetched"):
        build_image_set(parquet_config(train=RemoteFile(url=url, sha256="0" * 64)), tmp_path)
    assert list(tmp_path.iterdir()) == []
