"""How faults act on bodies and answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.attic_server.answers import HTML_TYPE, Answer, Said, json_answer, text_answer
from tests.attic_server.faults import BreakOff, Cut, Drip, Limit, Reply, Reset, Stall
from tests.attic_server.state import PIECE
from tests.attic_server.wire import Connection, Reader


@dataclass
class FaultyBody:
    """A body that is read with the fault in mind; counts from where the NAR begins."""

    connection: Connection
    body: Reader
    action: Reset | Stall | Cut | Limit | Drip
    count: int = 0

    def read(self, size: int) -> bytes:
        match self.action:
            case Reset(after=after) | Stall(after=after) if self.count >= after:
                if isinstance(self.action, Reset):
                    self.connection.reset()
                elif self.count < 2**62:
                    self.connection.wait(self.action.seconds)
                    self.count = 2**62
                return self.body.read(size)
            case Reset(after=after) | Stall(after=after):
                size = min(size, after - self.count)
            case Cut(after=after) if self.count >= after:
                while self.body.read(PIECE):
                    pass
                return b""
            case Cut(after=after):
                size = min(size, after - self.count)
            case Drip(bytes_per_second=pace):
                size = min(size, max(1, pace // 20))
                self.connection.wait(size / pace)
        data = self.body.read(size)
        self.count += len(data)
        if isinstance(self.action, Limit) and self.count > self.action.size:
            raise Said(TOO_LARGE)
        return data


def ordered(reply: Reply, target: str) -> Answer:
    phrase = reply.text if reply.text is not None else f"{reply.status}: this answer was ordered"
    headers = [(name, value.replace("{path}", target.removeprefix("/"))) for name, value in reply.headers]
    if reply.retry_after is not None:
        headers.append(("retry-after", reply.retry_after))
    if reply.form == "text":
        answer = text_answer(reply.status, phrase)
    elif reply.form == "html":
        page = phrase if phrase.startswith("<") else f"<html><head><title>{phrase}</title></head><body></body></html>"
        answer = Answer(reply.status, page.encode(), HTML_TYPE)
    else:
        name = _ERRORS.get(reply.status, "InternalServerError")
        answer = json_answer({"code": reply.status, "error": name, "message": phrase}, status=reply.status)
    return replace(answer, headers=tuple(headers))


_ERRORS = {
    400: "RequestError",
    401: "Unauthorized",
    403: "AccessError",
    404: "NoSuchCache",
    503: "IncompleteNar",
}


def slow_or_short(connection: Connection, answer: Answer, action: Drip | BreakOff) -> Answer:
    pieces = iter([answer.body]) if answer.stream is None else answer.stream
    length = len(answer.body) if answer.stream is None else answer.length

    def slow(pace: int) -> Iterator[bytes]:
        step = max(1, pace // 20)
        for piece in pieces:
            for start in range(0, len(piece), step):
                connection.wait(step / pace)
                yield piece[start : start + step]

    def short(left: int) -> Iterator[bytes]:
        for piece in pieces:
            if sent := piece[:left]:
                yield sent
            left -= len(sent)
            if not left:
                break

    if isinstance(action, Drip):
        return replace(answer, body=b"", stream=slow(action.bytes_per_second), length=length)
    if action.reset:
        return replace(answer, body=b"", stream=_then_reset(connection, short(action.after)), length=length)
    if answer.stream is None:
        return replace(answer, body=answer.body[: action.after])
    return replace(answer, stream=short(action.after), length=None)


def _then_reset(connection: Connection, pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield from pieces
    connection.wait(0.05)  # what was sent is to arrive: a reset overtakes it
    connection.reset()


TOO_LARGE = ordered(Reply(413, form="html"), "")
