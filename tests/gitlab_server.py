"""A GitLab that answers what we ask of its API, over real HTTP, and misbehaves on demand.

What it does is written at https://docs.gitlab.com/api/deployments/, /api/environments/, /api/commits/,
/api/job_artifacts/ and /api/rest/#pagination; how jobs make deployments is what GitLab's own documentation of
environments says.
"""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from tests.gitlab_archives import Archive, archived

SHA = "a" * 40
PROJECT = "7"
JOB_TOKEN, PROJECT_TOKEN = "job-token", "project-token"

DEPLOYMENT_STATUSES = ("created", "running", "success", "failed", "canceled", "skipped", "blocked")
ORDERS = ("id", "iid", "created_at", "updated_at", "finished_at", "ref")
MAX_PER_PAGE = 100

Row = dict[str, Any]


class RefusedError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, message: str, **more: str) -> None:
        super().__init__(message)
        self.status = status
        self.body: Row = {"message": message, **more}


@dataclass
class Fault:
    """What the server does instead of answering.

    Attributes:
        status: it answers with this, unless 0.
        headers: of that answer.
        page: the body, as HTML; null for GitLab's JSON.
        act: `stall` (no answer), `drip` (a byte now and then), `reset` (closes the connection), `cut` (closes it
            within the answer), `flood` (an answer without an end).
        times: requests it happens to; then all is well again.
        only: the part of the path that it happens to.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    page: str | None = None
    act: str = ""
    times: int = 1_000_000
    only: str = ""


class FakeGitLab(ThreadingHTTPServer):
    """One project, its environments and deployments.

    Attributes:
        faults: the first that fits a request happens to it.
        passed: commit of the last pipeline that passed; null for none.
        scope: of the project token: `api` or `read_api`.
        headers_of_pages: whether listings tell of their other pages (a proxy may drop that).
        archives: artifacts of jobs, of older pipelines first.
        free: whether it is GitLab Free, where job tokens read no artifacts by the API.
        searches: whether it looks for artifacts behind the last pipeline that passed (GitLab 18.10).
        seen: path, query and headers of every GET.
        written: method, path and body of every other request that was granted.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults: list[Fault] = []
        self.passed: str | None = SHA
        self.scope = "api"
        self.job_token_may = True
        self.headers_of_pages = True
        self.environments: list[Row] = []
        self.deployments: list[Row] = []
        self.statuses: list[Row] = []
        self.archives: list[Archive] = []
        self.free, self.searches = False, True
        self.seen: list[tuple[str, dict[str, list[str]], dict[str, str]]] = []
        self.written: list[tuple[str, str, Row]] = []
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._clock = 0

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that give up are what some tests are about."""

    def refuse(self, status: int) -> None:
        """Answer everything with this status from now on."""
        self.faults = [Fault(status)]

    def fault(self, path: str) -> Fault | None:
        """What happens to this request to this path."""
        with self._lock:
            for fault in self.faults:
                if fault.only in path and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    # What people and jobs do.

    def now(self) -> str:
        """A later time with each call."""
        self._clock += 1
        return f"2030-01-01T{self._clock // 3600:02}:{self._clock // 60 % 60:02}:{self._clock % 60:02}.500Z"

    def environment(self, name: str) -> Row:
        """The environment of this name, made where there is none."""
        for row in self.environments:
            if row["name"] == name:
                return row
        row = {
            "id": 100 + len(self.environments),
            "name": name,
            "slug": name.lower().replace("/", "-"),
            "description": None,
            "external_url": None,
            "state": "available",
            "tier": "production",
            "created_at": self.now(),
            "updated_at": self.now(),
        }
        self.environments.append(row)
        return row

    def deployment(self, environment: str, sha: str, status: str, *, job: str | None = None, ref: str = "main") -> Row:
        """A new deployment, the newest. `job` is the status of its job; null where the API made it."""
        number, made = len(self.deployments) + 1, self.now()
        row: Row = {
            "id": 1000 + number,
            "iid": number,
            "ref": ref,
            "sha": sha,
            "created_at": made,
            "updated_at": made,
            "status": status,
            "environment": self.environment(environment),
            "deployable": None,
        }
        if job is not None:
            row["deployable"] = {"id": 5000 + number, "name": f"deploy {environment}", "ref": ref, "status": job}
        self.deployments.append(row)
        if status in {"success", "failed", "canceled"}:
            self.finish(row, status)
        return row

    def finish(self, row: Row, status: str) -> None:
        """The deployment gets another status, now."""
        row["status"], row["updated_at"] = status, self.now()
        if row["deployable"] is not None:
            row["deployable"] |= {"status": status, "finished_at": row["updated_at"]}

    def artifact(self, path: str, query: dict[str, str], headers: dict[str, str]) -> bytes | None:
        """The file of an archive, at the endpoint for that; null for all other paths."""
        place = f"/api/v4/projects/{PROJECT}/jobs/artifacts/"
        ref, found, file = path.removeprefix(place).partition("/raw/")
        if not path.startswith(place) or not found:
            return None
        self._known(headers)
        if self.free and "JOB-TOKEN" in headers:
            raise RefusedError(404, "404 Project Not Found")
        if "job" not in query:
            raise RefusedError(400, "job is missing")
        more = self.searches and query.get("search_recent_successful_pipelines") == "true"
        data = archived(self.archives, unquote(ref), query["job"], unquote(file), more=more)
        if data is None:
            raise RefusedError(404, "404 Not Found")
        return data

    # What the API answers.

    def answer(self, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: Row) -> Any:
        """The rows of a listing, or the one row that was made or changed."""
        what = path.removeprefix(f"/api/v4/projects/{PROJECT}")
        if what == path:
            raise RefusedError(404, "404 Project Not Found")
        self._authorize(method, what, headers)
        with self._lock:
            if method == "GET":
                return self._list(what, query)
            made = self._write(method, what, body)
            self.written.append((method, what, body))
            return made

    def _known(self, headers: dict[str, str]) -> None:
        if headers.get("PRIVATE-TOKEN") != PROJECT_TOKEN and headers.get("JOB-TOKEN") != JOB_TOKEN:
            raise RefusedError(401, "401 Unauthorized")

    def _authorize(self, method: str, what: str, headers: dict[str, str]) -> None:
        self._known(headers)
        if "PRIVATE-TOKEN" in headers:
            if method != "GET" and self.scope != "api":
                raise RefusedError(403, "403 Forbidden", error="insufficient_scope", scope="api")
            return
        if not self.job_token_may or what.split("/")[1] not in {"deployments", "environments"}:
            raise RefusedError(401, "401 Unauthorized")

    def _list(self, what: str, query: dict[str, str]) -> list[Row]:
        if what == "/pipelines":
            return [{"id": 2, "sha": self.passed, "ref": query.get("ref"), "status": "success"}] if self.passed else []
        if what == "/environments":
            return self._environments(query)
        if what == "/deployments":
            return self._deployments(query)
        raise RefusedError(404, "404 Not Found")

    def _environments(self, query: dict[str, str]) -> list[Row]:
        if "name" in query and "search" in query:
            raise RefusedError(400, "name, search are mutually exclusive")
        if len(query.get("search", "abc")) < 3:
            raise RefusedError(400, "400 Bad request - Search query is less than 3 characters")
        rows = self.environments
        if "name" in query:
            rows = [row for row in rows if row["name"] == query["name"]]
        if "search" in query:
            rows = [row for row in rows if query["search"].lower() in row["name"].lower()]
        return rows

    def _deployments(self, query: dict[str, str]) -> list[Row]:
        order, direction, status = query.get("order_by", "id"), query.get("sort", "asc"), query.get("status")
        if order not in ORDERS or direction not in {"asc", "desc"} or status not in {None, *DEPLOYMENT_STATUSES}:
            raise RefusedError(400, "does not have a valid value")
        if ("updated_after" in query) != (order == "updated_at"):
            raise RefusedError(400, "`updated_at` filter and `updated_at` sorting must be paired")
        rows = [
            row
            for row in self.deployments
            if query.get("environment") in {None, row["environment"]["name"]}
            and status in {None, row["status"]}
            and _instant(row["updated_at"]) >= _instant(query.get("updated_after", "2000-01-01T00:00:00Z"))
        ]
        rows = sorted(rows, key=lambda row: (row[order], row["id"]), reverse=direction == "desc")
        return [
            row | {"environment": {"id": row["environment"]["id"], "name": row["environment"]["name"]}} for row in rows
        ]

    def _write(self, method: str, what: str, body: Row) -> Row:
        parts = what.split("/")[1:]
        if (method, parts) == ("POST", ["deployments"]):
            lacking = {"environment", "sha", "ref", "tag", "status"} - body.keys()
            if lacking or body["status"] not in {"running", "success", "failed", "canceled"}:
                raise RefusedError(400, f"missing or wrong: {sorted(lacking)}")
            return self.deployment(body["environment"], body["sha"], body["status"], ref=body["ref"])
        if method == "PUT" and parts[0] == "environments":
            row = next((one for one in self.environments if str(one["id"]) == parts[1]), None)
            if row is None:
                raise RefusedError(404, "404 Not found")
            row |= {key: body[key] for key in ("description", "external_url", "tier") if key in body}
            row["updated_at"] = self.now()
            return row
        if method == "POST" and parts[0] == "statuses":
            if body.get("state") not in {"pending", "running", "success", "failed", "canceled"}:
                raise RefusedError(400, "state does not have a valid value")
            if len(body.get("description", "")) > 255:
                raise RefusedError(400, "description is too long (maximum is 255 characters)")
            self.statuses.append({"sha": parts[1], **body})
            return self.statuses[-1]
        raise RefusedError(404, "404 Not Found")


def _instant(text: str) -> str:
    """A time of ours, or what an ISO 8601 time with a zone is in UTC, so that both compare as text."""
    return dt.datetime.fromisoformat(text).astimezone(dt.UTC).isoformat()


class Handler(BaseHTTPRequestHandler):
    server: FakeGitLab
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if self.command == "GET":
            self.server.seen.append((url.path, parse_qs(url.query), dict(self.headers)))
        fault = self.server.fault(url.path)
        if fault is not None:
            self._misbehave(fault)
            return
        try:
            data = self.server.artifact(url.path, query, dict(self.headers))
            if data is not None:
                self._send(200, data)
                return
            answer = self.server.answer(self.command, url.path, query, dict(self.headers), body)
        except RefusedError as error:
            self._send(error.status, json.dumps(error.body).encode())
            return
        if self.command == "GET":
            answer, headers = self._page(answer, url.path, query)
            self._send(200, json.dumps(answer).encode(), headers)
        else:
            self._send(201 if self.command == "POST" else 200, json.dumps(answer).encode())

    do_GET = do_POST = do_PUT = _handle  # noqa: N815  # the names are the library's

    def _page(self, rows: list[Row], path: str, query: dict[str, str]) -> tuple[list[Row], dict[str, str]]:
        per_page = min(int(query.get("per_page", 20)), MAX_PER_PAGE)
        page = int(query.get("page", 1))
        more = len(rows) > page * per_page
        here = rows[(page - 1) * per_page : page * per_page]
        if not self.server.headers_of_pages:
            return here, {}
        headers = {"X-Page": str(page), "X-Per-Page": str(per_page), "X-Next-Page": str(page + 1) if more else ""}
        if more:
            # GitLab names itself as it is configured, which need not be how the job reaches it.
            following = urlencode(query | {"page": str(page + 1)})
            headers["Link"] = f'<https://gitlab.example{path}?{following}>; rel="next"'
        return here, headers

    def _misbehave(self, fault: Fault) -> None:
        if fault.act == "stall":
            self.server.over.wait(120)
        elif fault.act == "drip":
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            while not self.server.over.wait(0.2):
                self.wfile.write(b" ")
                self.wfile.flush()
        elif fault.act == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
        elif fault.act == "flood":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            while not self.server.over.is_set():
                self.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        elif fault.act != "reset":
            token = self.headers.get("PRIVATE-TOKEN") or self.headers.get("JOB-TOKEN")
            body = json.dumps({"message": f"not for the token {token}"}).encode()
            self._send(fault.status, fault.page.encode() if fault.page else body, fault.headers, html=bool(fault.page))
            return
        self.close_connection = True

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None, *, html: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if html else "application/json")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the library's
        """Be quiet."""


@contextmanager
def running_gitlab() -> Iterator[FakeGitLab]:
    """A server on a free port of this machine."""
    fake = FakeGitLab()
    thread = threading.Thread(target=fake.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.over.set()
        fake.shutdown()
        fake.server_close()
        thread.join()


def api_url(server: FakeGitLab) -> str:
    """What GitLab puts into `CI_API_V4_URL`."""
    return f"http://127.0.0.1:{server.server_address[1]}/api/v4"
