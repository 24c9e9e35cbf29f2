"""The local page over HTTP: what it takes, what it refuses, and that no path is ever opened."""

import http.client
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from finevq.dataset.videos import DIMENSIONS
from finevq.evaluate.pages.serve import Server
from finevq.evaluate.score.scorecard import Rating, Reply, ScoreCard

LIMIT = 1000


class Fake:
    """Rates whatever file it is given, and remembers it."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.contents: list[bytes] = []

    def __call__(self, path: str) -> ScoreCard:
        self.paths.append(path)
        self.contents.append(Path(path).read_bytes())
        if self.contents[-1] == b"broken":
            return ScoreCard(path, (0.0, 100.0), {}, "is <not> a video")
        rating = Rating(61.5, "good", {"good": 1.0}, 70.0, 80.0)
        reply = Reply("yes-no blur", "No", {"Yes": 0.1, "No": 0.9})
        return ScoreCard(path, (0.0, 100.0), dict.fromkeys(DIMENSIONS, rating), None, [reply])


@pytest.fixture
def fake() -> Fake:
    return Fake()


@pytest.fixture
def server(fake: Fake) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), fake, limit=LIMIT, facts={}) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(
    server: Server, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, named)
    reply = connection.getresponse()
    found = reply.status, reply.read().decode(), dict(reply.getheaders())
    connection.close()
    return found


def test_the_page_is_served_and_may_talk_to_nobody_else(server: Server) -> None:
    status, text, headers = ask(server, "GET", "/")
    assert status == 200
    assert f"const limit = {LIMIT};" in text
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "http" not in text.replace("http-equiv", "")


def test_a_video_gives_its_card(server: Server, fake: Fake) -> None:
    status, text, _ = ask(server, "PUT", "/card", b"video", X_Name="my%20clip.mp4")
    assert status == 200
    assert fake.contents == [b"video"]
    assert "<h1>my clip.mp4</h1>" in text
    assert text.count('class="gauge"') == len(DIMENSIONS)
    assert "above 80 % of the training videos" in text


def test_the_upload_is_gone_afterwards(server: Server, fake: Fake) -> None:
    ask(server, "PUT", "/card", b"video")
    assert not Path(fake.paths[0]).exists()


@pytest.mark.parametrize("name", ["../../etc/passwd", "%2e%2e%2fetc%2fpasswd", "/etc/passwd"])
def test_a_name_never_becomes_a_path(server: Server, fake: Fake, name: str) -> None:
    status, text, _ = ask(server, "PUT", "/card", b"video", X_Name=name)
    assert status == 200
    assert "<h1>passwd</h1>" in text
    assert Path(fake.paths[0]).name == "video"
    assert "finevq-" in Path(fake.paths[0]).parent.name


def test_a_name_is_escaped(server: Server) -> None:
    _, text, _ = ask(server, "PUT", "/card", b"video", X_Name="<script>alert(1)<%2Fscript>.mp4")
    assert "<script" not in text


@pytest.mark.parametrize("path", ["/etc/passwd", "/../serve.py", "/card", "/index.html"])
def test_there_is_nothing_else_to_get(server: Server, path: str) -> None:
    assert ask(server, "GET", path)[0] == 404


def test_a_video_beyond_the_limit_is_refused_unread(server: Server, fake: Fake) -> None:
    status, text, _ = ask(server, "PUT", "/card", b"", Content_Length=str(LIMIT + 1))
    assert status == 413
    assert f"the limit is {LIMIT}" in text
    assert fake.paths == []


@pytest.mark.parametrize("digits", [18, 19, 5000])
def test_a_length_of_any_number_of_digits_is_answered(server: Server, digits: int) -> None:
    assert ask(server, "PUT", "/card", b"", Content_Length="9" * digits)[0] == 413


def test_an_empty_file_is_called_so(server: Server, fake: Fake) -> None:
    status, text, _ = ask(server, "PUT", "/card", b"", X_Name="a.mp4")
    assert status == 400
    assert "a.mp4: is empty (0 bytes)" in text
    assert fake.paths == []


@pytest.mark.parametrize("at", ["its upload", "its card"])
def test_a_visitor_who_hangs_up_is_no_error(
    server: Server, capfd: pytest.CaptureFixture[str], at: str
) -> None:
    head = (
        f"PUT /card HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\nContent-Length: 5\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.server_port)) as visitor:
        visitor.sendall(head.encode() + (b"vi" if at == "its upload" else b"video"))
        # Closed at once and with a reset, as by a browser that is closed.
        visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert ask(server, "PUT", "/card", b"video")[0] == 200
    server.shutdown()
    assert "Traceback" not in capfd.readouterr().err


def test_a_bug_keeps_its_traceback(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    server.score = None  # type: ignore[assignment]
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        ask(server, "PUT", "/card", b"video")
    server.shutdown()
    assert "Traceback" in capfd.readouterr().err


@pytest.mark.parametrize("length", ["", "-5", "x"])
def test_a_length_that_says_nothing_is_refused(server: Server, length: str) -> None:
    assert ask(server, "PUT", "/card", b"", Content_Length=length)[0] == 411


def test_a_broken_video_is_told_escaped(server: Server) -> None:
    status, text, _ = ask(server, "PUT", "/card", b"broken", X_Name="b.mp4")
    assert status == 422
    assert "b.mp4: is &lt;not&gt; a video" in text


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}],
    ids=["foreign name", "foreign page", "no page"],
)
def test_pages_of_others_are_refused(server: Server, fake: Fake, headers: dict[str, str]) -> None:
    assert ask(server, "PUT", "/card", b"video", **headers)[0] == 403
    assert fake.paths == []


def test_its_own_page_is_not(server: Server) -> None:
    assert ask(server, "PUT", "/card", b"v", Origin=server.url.rstrip("/"))[0] == 200
