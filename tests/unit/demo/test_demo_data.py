import hashlib
import http.server
import io
import threading
import zipfile

import pytest

from demo.data import DownloadFailed, choose_data, download_movielens
from demo.world import EVENTS_FILE, WorldSize

FILES = {
    "ratings.csv": "userId,movieId,rating,timestamp\n1,10,4.0,100\n2,10,5.0,200\n",
    "movies.csv": "movieId,title,genres\n10,A Film (1999),Drama\n",
    "README.txt": "terms",
}


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"ml-latest-small/{name}", text)
    return buffer.getvalue()


@pytest.fixture
def serving():
    """Serve some bytes over HTTP; returns a function from bytes to URL."""
    servers = []

    def serve(content):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/ml.zip"

    yield serve
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def test_what_has_the_right_hash_is_unpacked(serving, tmp_path):
    content = zipped(FILES)
    folder = download_movielens(serving(content), hashlib.sha256(content).hexdigest(), tmp_path)
    assert {file.name: file.read_text() for file in folder.iterdir()} == FILES
    assert list(tmp_path.iterdir()) == [folder]
    said = []
    assert choose_data("", tmp_path, tmp_path / "demo", said.append) == folder
    assert "downloaded before" in said[0]


def test_what_has_another_hash_is_refused_and_leaves_nothing(serving, tmp_path):
    with pytest.raises(DownloadFailed, match="sha256"):
        download_movielens(serving(zipped(FILES)), "0" * 64, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"no archive", zipped({"ratings.csv": "only"})])
def test_what_is_no_movielens_leaves_nothing(serving, tmp_path, content):
    with pytest.raises(DownloadFailed):
        download_movielens(serving(content), hashlib.sha256(content).hexdigest(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_was_asked_for_comes_before_everything_else(tmp_path):
    (tmp_path / "ml-latest-small").mkdir()
    assert str(choose_data("elsewhere/log.csv", tmp_path, tmp_path / "demo", print)) == "elsewhere/log.csv"


def test_the_world_of_the_last_start_is_taken_again(world, tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "world").symlink_to(world)
    said = []
    assert choose_data("", tmp_path / "data", tmp_path / "demo", said.append) == tmp_path / "demo" / "world"
    assert "simulated world" in said[0]


def test_without_a_network_there_is_a_world_and_it_is_said_aloud(tmp_path):
    said = []
    folder = choose_data(
        "",
        tmp_path / "data",
        tmp_path / "demo",
        said.append,
        url="http://127.0.0.1:9/ml-latest-small.zip",
        size=WorldSize(users=20, items=200, days=10),
    )
    assert folder == tmp_path / "demo" / "world"
    assert (folder / EVENTS_FILE).exists()
    assert "SIMULATED" in said[-1]
