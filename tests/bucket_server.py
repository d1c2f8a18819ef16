"""A server of Google's storage protocol on this machine, and a proxy in front of it that may answer late or badly."""

import contextlib
import http.client
import json
import re
import threading
import time
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from etils import epath
from gcp_storage_emulator.server import Server, create_server

BUCKET = "bucket"


class Proxy(ThreadingHTTPServer):
    """Hands requests on to a server.

    Attributes:
        delay_s: Seconds by which every answer is late.
        bad: The share of requests that get no good answer: 500 without the request being handed on, an answer that
            is cut in the middle, or one that is a second late, in turns.
        answer: A status that every request is answered with, if it is not 0.
        page: How many objects an answer to a listing has at most, if it is not 0.
        faults: How many of these there were.
        requests: Method and path of those that came.
        written: Names of the objects that were written, in the order in which they were.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, server: Server):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.emulator, self.upstream = server, server._api._httpd.server_port
        # The server answers one request at a time, and lets only five wait before it refuses them for a second.
        self.turn = threading.Lock()
        self.reset()

    def reset(self, name: str = "") -> None:
        # With every object the server writes down all that it has.
        self.emulator.wipe(keep_buckets=True)
        self.folder = epath.Path(f"gs://{BUCKET}/{name}")
        self.delay_s, self.bad, self.answer, self.page = 0.0, 0.0, 0, 0
        self.requests, self.written, self.here = [], [], set()
        self.faults, self._due = 0, 0.0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def fault(self) -> str:
        """The next request's fault: as many as `bad` says, at equal distances."""
        self._due += self.bad
        if self._due < 1:
            return ""
        self._due -= 1
        self.faults += 1
        return ("500", "cut", "late")[self.faults % 3]

    def handle_error(self, request, client_address):
        pass  # A client that was killed in the middle of an answer.


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _handle(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append((self.command, self.path))
        fault = self.server.fault()
        time.sleep(self.server.delay_s + (1.0 if fault == "late" else 0.0))
        if fault == "500" or self.server.answer:
            self._answer(self.server.answer or 500, {}, b"{}")
            return
        # The emulator knows no conditions.
        name = re.search(rb'"name": "([^"]+)"', content[:1000]) if self.command == "POST" else None
        if name and "ifGenerationMatch=0" in self.path and name[1].decode() in self.server.here:
            self._answer(412, {}, b"{}")
            return
        with self.server.turn:
            status, headers, content = self._asked(self.command, self.path, content, dict(self.headers))
            if self.command == "GET" and "alt=media" in self.path and status == 200:
                # Google says it with the content; tensorstore fails without it where it looks at an object again.
                _, _, about = self._asked("GET", self.path.partition("?")[0].removeprefix("/download"), b"", {})
                headers["x-goog-generation"] = json.loads(about)["generation"]
        if name and status == 200:
            self.server.written.append(name[1].decode())
            self.server.here.add(name[1].decode())
        if self.command == "DELETE":
            self.server.here.discard(urllib.parse.unquote(self.path.rpartition("/")[2]))
        if self.server.page and self.command == "GET" and "/o?prefix=" in self.path:
            content = self._page(content)
        self._answer(status, headers, content, cut=fault == "cut")

    def _asked(
        self, command: str, path: str, content: bytes, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        """What the server answers."""
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)
        with contextlib.closing(upstream):
            upstream.request(command, path, content, headers)
            answer = upstream.getresponse()
            return answer.status, dict(answer.headers), answer.read()

    def _page(self, content: bytes) -> bytes:
        """Cuts a listing into pages, which the emulator does not."""
        listing = json.loads(content)
        (start,) = urllib.parse.parse_qs(self.path).get("pageToken", ["0"])
        stop = int(start) + self.server.page
        more = {"nextPageToken": str(stop)} if stop < len(listing["items"]) else {}
        return json.dumps({"items": listing["items"][int(start) : stop], **more}).encode()

    def _answer(self, status: int, headers: dict[str, str], content: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = cut

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _handle

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def bucket_server() -> Iterator[Proxy]:
    """Runs both, with one empty bucket; nothing of it is left at the end."""
    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket=BUCKET)
    server.start()
    proxy = Proxy(server)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        server.stop()
