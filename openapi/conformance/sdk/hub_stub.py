"""A local stand-in for the Hugging Face Hub: enough of its HTTP for a client that makes a repository and uploads a folder.

It keeps what was uploaded in memory. It knows one token and nothing of Tinker; large files come in the commit itself, since
it asks for no other way.
"""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

USER = "somebody"
TOKEN = "hf_conformance"
COMMIT = "0" * 40


@dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)


@dataclass
class HubStub:
    repositories: dict[str, Repository] = field(default_factory=dict)

    def __enter__(self) -> HubStub:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, object]:
        """Status and JSON; a status of 404 is what the Hub says of what it does not have."""
        if path == "/api/whoami-v2":
            return 200, {"type": "user", "name": USER, "fullname": USER, "orgs": [], "auth": {"type": "access_token"}}
        if (method, path) == ("POST", "/api/repos/create"):
            return self._create(json.loads(body))
        if (method, path) == ("POST", "/api/validate-yaml"):
            return 200, {"errors": [], "warnings": []}
        parts = path.removeprefix("/api/models/").split("/")
        if not path.startswith("/api/models/") or len(parts) < 2:
            return 404, {"error": "Entry not found"}
        name = "/".join(parts[:2])
        if name not in self.repositories:
            return 404, {"error": "Repository not found"}
        operation = parts[2] if len(parts) > 2 else ""
        if operation == "preupload":
            files = [{"path": each["path"], "uploadMode": "regular"} for each in json.loads(body)["files"]]
            return 200, {"files": [each | {"shouldIgnore": False, "oid": None} for each in files]}
        if operation == "commit":
            return self._commit(name, body)
        return 200, {"id": name, "sha": COMMIT, "siblings": [], "private": self.repositories[name].private}

    def _create(self, request: dict) -> tuple[int, object]:
        name = f"{request.get('organization') or USER}/{request['name']}"
        # Newer clients say "visibility", older ones "private".
        private = request.get("visibility") == "private" or bool(request.get("private"))
        self.repositories.setdefault(name, Repository(private=private))
        return 200, {"url": f"{self.url}/{name}", "name": name, "id": name}

    def _commit(self, name: str, body: bytes) -> tuple[int, object]:
        repository = self.repositories[name]
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                repository.messages.append(value["summary"])
            elif entry["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            else:
                return 400, {"error": f"no commit entries of kind {entry['key']} here"}
        return 200, {
            "success": True,
            "commitOid": COMMIT,
            "commitUrl": f"{self.url}/{name}/commit/{COMMIT}",
            "hookOutput": "",
        }


def handler_of(hub: HubStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self._body()
            if self.headers.get("authorization") not in (None, f"Bearer {TOKEN}"):
                status, value = 401, {"error": "Invalid token"}
            else:
                status, value = hub.answer(self.command, unquote(urlsplit(self.path).path), body)
            answer = b"" if self.command == "HEAD" else json.dumps(value).encode()
            self.send_response(status)
            if status == 404:
                self.send_header("x-error-code", "EntryNotFound")
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def _body(self) -> bytes:
            if self.headers.get("transfer-encoding", "").lower() != "chunked":
                return self.rfile.read(int(self.headers.get("content-length") or 0))
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        do_GET = do_POST = do_HEAD = do_PUT = handle_any

        def log_message(self, *_: object) -> None:
            pass

    return Handler
