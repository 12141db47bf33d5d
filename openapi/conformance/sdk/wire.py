"""A recording proxy between the SDK and the server.

It knows HTTP and nothing of Tinker: what came in, what went back, and where a case wants another answer.
The SDK and the server stay as they are; only the wire between them is watched.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

API = "/api/v1/"
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "date", "server"}


@dataclass
class Exchange:
    """One request and its answer, in the order in which requests arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int = 0
    answer: bytes = b""

    @property
    def name(self) -> str:
        """`client/config` for `/api/v1/client/config`."""
        return self.path.partition(API)[2]

    @property
    def json(self) -> dict:
        return json.loads(self.body)


Answer = tuple[int, dict[str, str], bytes]


def json_answer(value: object, status: int = 200) -> Answer:
    return status, {"content-type": "application/json"}, json.dumps(value).encode()


@dataclass
class Wire:
    """Forwards to `target`. `replace` answers itself (return None to forward); `alter` changes a JSON answer."""

    target: str
    prefix: str = ""
    replace: dict[str, Callable[[Exchange], Answer | None]] = field(default_factory=dict)
    alter: dict[str, Callable[[dict], dict]] = field(default_factory=dict)
    exchanges: list[Exchange] = field(default_factory=list)

    def __enter__(self) -> Wire:
        self._arrived = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{self.prefix}"

    def of(self, name: str) -> list[Exchange]:
        """The exchanges of one operation: `wire.of("forward_backward")`."""
        return [exchange for exchange in self.exchanges if exchange.name == name]

    @property
    def names(self) -> list[str]:
        return [exchange.name for exchange in self.exchanges]

    def wait_for(self, name: str, count: int, seconds: float) -> bool:
        """True as soon as `count` such requests have been answered; False when the time is over."""
        with self._arrived:
            return self._arrived.wait_for(lambda: sum(e.status > 0 for e in self.of(name)) >= count, seconds)

    def _answer(self, exchange: Exchange) -> Answer:
        replaced = self.replace.get(exchange.name)
        answer = replaced(exchange) if replaced else None
        status, headers, body = answer or self._forward(exchange)
        altered = self.alter.get(exchange.name)
        if altered and status == 200:
            body = json.dumps(altered(json.loads(body))).encode()
        return status, headers, body

    def _forward(self, exchange: Exchange) -> Answer:
        target = urlsplit(self.target)
        connection = http.client.HTTPConnection(target.hostname, target.port, timeout=120)
        try:
            connection.request(
                exchange.method, exchange.path.removeprefix(self.prefix), exchange.body, exchange.headers
            )
            response = connection.getresponse()
            headers = {k: v for k, v in response.getheaders() if k.lower() not in HOP_BY_HOP}
            return response.status, headers, response.read()
        finally:
            connection.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                headers = {k: v for k, v in self.headers.items() if k.lower() not in HOP_BY_HOP}
                exchange = Exchange(self.command, self.path, headers, body)
                wire.exchanges.append(exchange)
                status, headers, answer = wire._answer(exchange)
                exchange.answer = answer
                with wire._arrived:
                    exchange.status = status
                    wire._arrived.notify_all()
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("content-length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)
                except ConnectionError:
                    pass  # the SDK gave this poll up

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any

            def log_message(self, *_: object) -> None:
                pass

        return Handler
