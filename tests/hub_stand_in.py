"""A stand-in for the hub on this machine: one repository, as its interface serves it."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

REPOSITORY = "org/model"
OPEN, GATED, ABSENT = "open", "gated", "absent"


class Hub:
    """What it holds and does; `asked` lists the paths that were asked for.

    Attributes:
        commits: commit -> path -> bytes.
        branches: name -> commit.
        manner: `open`, `gated` (files are refused) or `absent` (no such repository).
    """

    def __init__(self, commits: dict[str, dict[str, bytes]], branches: dict[str, str]) -> None:
        self.commits, self.branches, self.manner = commits, branches, OPEN
        self.asked: list[str] = []
        self.url = ""

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of a path."""
        self.asked.append(path)
        if self.manner == ABSENT:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"Repository not found"
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[0] == "api":
            kind, revision = parts[4], "/".join(parts[5:])
            if (commit := self.branches.get(revision, revision)) not in self.commits:
                return 404, {"X-Error-Code": "RevisionNotFound"}, b"Invalid rev id"
            files = self.commits[commit]
            if kind == "revision":
                told: object = {"id": REPOSITORY, "sha": commit, "siblings": []}
            else:
                told = [
                    {"type": "file", "path": name, "size": len(data), "oid": _oid(data)}
                    for name, data in files.items()
                ]
            return 200, {"Content-Type": "application/json"}, json.dumps(told).encode()
        if self.manner == GATED:
            return 403, {"X-Error-Code": "GatedRepo"}, b"Access to it is restricted"
        commit = self.branches.get(parts[3], parts[3])
        data = self.commits[commit]["/".join(parts[4:])]
        return 200, {"ETag": f'"{_oid(data)}"', "X-Repo-Commit": commit}, data


def _oid(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve it while the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = hub.answer(urlsplit(self.path).path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
