"""A server that stores what it is given and serves it again, and nothing else: what `nix copy --to http://` needs.

    python -m benchmarks.put_server FOLDER

It prints its address, and ends when its input does. It is of the same make as the test double of Attic's server (the
same module reads the sockets, one thread for each connection), so that what differs between the two is what clients
ask of them.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import machine
from tests.attic_server.answers import Answer
from tests.attic_server.wire import Body, BodyBroken, Connection, Gone, Head, HeadRefused, send_answer

PIECE = 256 * 1024


class PutServer:
    """Serves `folder` on a free port of the loopback address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "nar").mkdir(parents=True, exist_ok=True)
        self._stopping = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        """Accept for ever."""
        while True:
            sock, address = self._listener.accept()
            connection = Connection(sock, f"{address[0]}:{address[1]}", self._stopping)
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: Connection) -> None:
        with contextlib.suppress(Gone, BodyBroken, HeadRefused):
            while self._answer(connection, connection.head()):
                pass
        connection.close()

    def _answer(self, connection: Connection, head: Head) -> bool:
        body = Body(connection, head)
        file = self.folder / head.target.partition("?")[0].lstrip("/")
        answer = self._store(file, body) if head.method == "PUT" else self._load(file)
        return send_answer(connection, head, answer, goes_on=body.drop() and head.keeps_alive)

    def _store(self, file: Path, body: Body) -> Answer:
        partial = file.with_name(f"{file.name}.{threading.get_ident()}")
        with partial.open("wb") as opened:
            while piece := body.read(PIECE):
                opened.write(piece)
        partial.replace(file)
        return Answer(201)

    def _load(self, file: Path) -> Answer:
        try:
            size = file.stat().st_size
            return Answer(200, stream=_pieces(file), length=size)
        except OSError:
            return Answer(404)


def _pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        while piece := opened.read(PIECE):
            yield piece


@contextlib.contextmanager
def put_server(folder: Path) -> Iterator[str]:
    """A server in a process of its own until the end of the block; its address."""
    command = [sys.executable, "-m", "benchmarks.put_server", str(folder)]
    with subprocess.Popen(command, cwd=machine.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None  # noqa: S101
        try:
            yield child.stdout.readline().decode().strip()
        finally:
            child.terminate()
            child.wait(10)


def main(arguments: Sequence[str]) -> None:
    """Serve until the input ends."""
    server = PutServer(Path(arguments[0]))
    threading.Thread(target=server.serve, daemon=True).start()
    print(server.url, flush=True)
    sys.stdin.read()
    os._exit(0)  # connections may be at work


if __name__ == "__main__":
    main(sys.argv[1:])
