"""A small honest hub of models: makes repositories and takes commits of small files, for those with the right token."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_test"


class FakeHub:
    """Serves until `close`. `repos`: by name its files, and whether it is private."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.messages: list[str] = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, body: bytes, authorization: str) -> tuple[int, Any]:
        if authorization != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid username or password."}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        repo, _, what = path.removeprefix("/api/models/").partition("/")
        name, _, what = what.partition("/")
        files = self.repos.get(f"{repo}/{name}")
        if files is None:
            return 404, {"error": "Repository not found"}
        if what.startswith("preupload"):
            named = json.loads(body)["files"]
            return 200, {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False,
                                    "oid": None} for one in named]}  # fmt: skip
        if what.startswith("commit"):
            return self._commit(f"{repo}/{name}", files, body)
        if what.startswith("revision") or not what:
            return 200, {"id": f"{repo}/{name}", "sha": "0" * 40, "private": self.private[f"{repo}/{name}"],
                         "siblings": [{"rfilename": path} for path in files]}  # fmt: skip
        return 404, {"error": f"there is no {method} {path} here"}

    def _create(self, wish: dict[str, Any]) -> tuple[int, Any]:
        name = f"{wish.get('organization') or 'somebody'}/{wish['name']}"
        known = name in self.repos
        self.repos.setdefault(name, {})
        self.private.setdefault(name, wish.get("visibility") == "private" or bool(wish.get("private")))
        return (409 if known else 200), {"url": f"{self.url}/{name}", "name": name, "id": name}

    def _commit(self, name: str, files: dict[str, bytes], body: bytes) -> tuple[int, Any]:
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "header":
                self.messages.append(line["value"]["summary"])
            else:
                assert (line["key"], line["value"]["encoding"]) == ("file", "base64")
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        made = f"{self.url}/{name}/commit/{'1' * 40}"
        return 200, {"success": True, "commitUrl": made, "commitOid": "1" * 40, "hookOutput": ""}


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length) if length else self._chunked()
        path = self.path.split("?")[0]
        status, said = self.hub.answer(self.command, path, body, self.headers.get("authorization", ""))
        data = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _chunked(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return b""
        data = b""
        while size := int(self.rfile.readline().strip() or b"0", 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    do_GET = do_POST = do_PUT = _answer  # noqa: N815  the names that http.server calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""
