"""The shapes of answers: JSON, plain text of the web framework, streams, and Attic's refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain; charset=utf-8"
HTML_TYPE = "text/html; charset=utf-8"


@dataclass(frozen=True)
class Answer:
    """What goes back; a stream is sent in chunks unless its length is known."""

    status: int
    body: bytes = b""
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    stream: Iterator[bytes] | None = None
    length: int | None = None
    """Of the stream, where that is told to the client."""
    aborts: bool = False
    """The stream ends without its end mark, and the connection with it."""


def json_answer(value: object, *, status: int = 200) -> Answer:
    """As the server writes JSON: without spaces."""
    return Answer(status, json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(), JSON_TYPE)


def text_answer(status: int, text: str) -> Answer:
    """What the web framework says before any of Attic's own code runs."""
    return Answer(status, text.encode(), TEXT_TYPE)


class Refusal(Exception):  # noqa: N818  # not every refusal is an error of the server
    """A request that ends with one of Attic's errors."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status, self.error, self.message = status, error, message

    def answer(self) -> Answer:
        """As JSON, with the code repeated."""
        return json_answer({"code": self.status, "error": self.error, "message": self.message}, status=self.status)


class Said(Exception):  # noqa: N818
    """A request that ends with an answer of the framework."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def bad_request(message: str) -> Refusal:
    """400 with a sentence."""
    return Refusal(400, "RequestError", f"General request error: {message}")


def not_found() -> Refusal:
    """No such route."""
    return Refusal(404, "NotFound", "The URL you requested was not found.")


def no_such_object() -> Refusal:
    """No such store path in this cache."""
    return Refusal(404, "NoSuchObject", "The requested object does not exist.")


def no_such_cache() -> Refusal:
    """No such cache, told to who may know."""
    return Refusal(404, "NoSuchCache", "The requested cache does not exist.")


def unauthorized() -> Refusal:
    """Told to who may know nothing."""
    return Refusal(401, "Unauthorized", "Unauthorized.")


def forbidden() -> Refusal:
    """Told to who may know of the cache but not do this."""
    return Refusal(403, "AccessError", "Access error: User does not have permission to complete this action.")


def internal_error() -> Refusal:
    """Anything that broke behind the server."""
    return Refusal(500, "InternalServerError", "The server encountered an internal error or misconfiguration.")


def bad_path_hash() -> Refusal:
    """A store path hash in a URL that is none."""
    return Refusal(500, "InvalidStorePathHash", "Error from the common components.")


def incomplete_nar() -> Refusal:
    """A chunk of the NAR is gone from the database."""
    return Refusal(503, "IncompleteNar", "The requested NAR has missing chunks and needs to be repaired.")
