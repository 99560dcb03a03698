"""The server: listeners, one thread per connection, and what is remembered."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from tests.attic_server import handling
from tests.attic_server.answers import Answer
from tests.attic_server.control import PREFIX
from tests.attic_server.faults import Endpoint, Faults
from tests.attic_server.keys import Keypair
from tests.attic_server.request import Request
from tests.attic_server.state import Cache, Clock, Damage, Nar, NarInfo, State
from tests.attic_server.tokens import make_token
from tests.attic_server.wire import BodyBroken, Connection, Gone, Head, HeadRefused, send_answer

SECRET = b"known to everybody, as it guards only tests"


class AtticServer:
    """A running server; make one with `attic_server`.

    All attributes that are no methods may be changed while it runs.
    """

    kind: Literal["double"] = "double"

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        secret: bytes = SECRET,
        compression: Literal["none", "xz"] = "none",
        seed: int = 0,
        controlled: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.secret, self.compression, self.controlled = secret, compression, controlled
        self.clock = Clock()
        self.state = State(folder, self.clock)
        self.faults = Faults(seed)
        self.api_endpoint: str | None = None
        """Told to clients as it is; None: made from their Host header."""
        self.substituter_endpoint: str | None = None
        """Likewise, and the cache's name is simply appended; None: the API endpoint."""
        self.allowed_hosts: Sequence[str] = ()
        self.soft_delete = False
        self.require_proof = True
        self.max_nar_info_size = 1024 * 1024
        self.chunk_threshold = 65536
        """Bytes of a NAR from which the answers are those for chunked NARs."""
        self.redirect_nars = False
        """Small NARs are fetched from `storage_url`, by a URL that is good for ten minutes."""
        self.requests: list[Request] = []
        self.storage_requests: list[Request] = []
        """Those to the second listener; none may carry the token."""
        self.uploads: Counter[str] = Counter()
        """Accepted uploads by the hash of the store path."""
        self.completed: list[str] = []
        """Store paths in the order in which their uploads were accepted."""
        self.most_parallel_uploads = 0
        self.troubles: list[BaseException] = []
        """Mistakes of this server itself."""
        self._parallel = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._connections: set[Connection] = set()
        self._listeners = [_listen(host, port), _listen(host, 0)]
        self._threads = [
            threading.Thread(target=self._accept, args=(listener, serve), daemon=True)
            for listener, serve in zip(self._listeners, (self._serve_api, self._serve_storage), strict=True)
        ]
        self.host = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104  # compared, not bound
        self.url, self.storage_url = (f"http://{self.host}:{one.getsockname()[1]}/" for one in self._listeners)
        for thread in self._threads:
            thread.start()

    def create_cache(
        self,
        name: str,
        *,
        public: bool = False,
        priority: int = 41,
        upstream: Sequence[str] = ("cache.nixos.org-1",),
        store_dir: str = "/nix/store",
        retention: int | None = None,
    ) -> str:
        """A new cache, without asking over HTTP.

        Returns:
            Its public key.
        """
        cache = Cache(name, Keypair.generate(name), public, store_dir, priority, list(upstream), retention)
        self.state.caches[name] = cache
        return cache.keypair.public()

    def token(self, caches: Mapping[str, str], *, seconds: float = 3600, sub: str = "test") -> str:
        """A token of this server: pattern → bits separated by spaces; good for so many seconds of its clock."""
        return make_token(self.secret, caches, expires=self.clock.now() + seconds, sub=sub)

    def put(self, cache: str, store_path: str, nar: bytes, references: Sequence[str] = ()) -> None:
        """A path is there, without an upload; references are base names."""
        path_hash, digest = store_path.rpartition("/")[2][:32], hashlib.sha256(nar).hexdigest()
        info = NarInfo(cache, path_hash, store_path, tuple(references), digest, len(nar))
        self.state.store(self.state.caches[cache], info, Nar(digest, len(nar), nar, len(nar), "none"), None)

    def objects(self, cache: str) -> set[str]:
        """Store paths that are there."""
        return {stored.info.store_path for stored in self.state.caches[cache].objects.values()}

    def forget(self, path: str, *, cache: str | None = None) -> None:
        """Drop a path (store path or hash) from one cache or all, and its NAR if nothing else has it."""
        key = path.rpartition("/")[2][:32]
        with self.state.lock:
            for name, one in self.state.caches.items():
                if cache in {None, name}:
                    one.objects.pop(key, None)
        self.state.reap()

    def damage(self, path: str, damage: Damage | None) -> None:
        """Damage the NAR of a path (store path or hash), which all paths of equal content share; None mends it."""
        key = path.rpartition("/")[2][:32]
        found = [cache.objects[key].info.nar_hash for cache in self.state.caches.values() if key in cache.objects]
        for digest in found:
            self.state.nars[digest].damage = damage

    def collect(self, default_retention: int = 0) -> list[str]:
        """Garbage collection, see `State.collect`."""
        return self.state.collect(default_retention)

    def asked(self, endpoint: Endpoint) -> list[Request]:
        """The requests of one kind, in order of arrival."""
        return [request for request in self.requests if request.endpoint is endpoint]

    def forget_requests(self) -> None:
        """Start counting anew."""
        with self._lock:
            self.requests, self.storage_requests = [], []
            self.uploads, self.completed, self.most_parallel_uploads = Counter(), [], self._parallel

    @contextmanager
    def counting(self, endpoint: Endpoint) -> Iterator[None]:
        """An upload is under way."""
        if endpoint is not Endpoint.UPLOAD:
            yield
            return
        with self._lock:
            self._parallel += 1
            self.most_parallel_uploads = max(self.most_parallel_uploads, self._parallel)
        try:
            yield
        finally:
            with self._lock:
                self._parallel -= 1

    def count_upload(self, info: NarInfo) -> None:
        """An upload was accepted."""
        with self._lock:
            self.uploads[info.store_path_hash] += 1
            self.completed.append(info.store_path)

    def cut_connections(self) -> None:
        """Reset all connections, those at work too, as a restart of the machine would."""
        for connection in list(self._connections):
            with contextlib.suppress(Gone, OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """No more answers; connections are closed."""
        self._stopping.set()
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.cut_connections()
        for thread in self._threads:
            thread.join(5)

    def _accept(self, listener: socket.socket, serve: Callable[[Connection, Head], bool]) -> None:
        while not self._stopping.is_set():
            try:
                sock, address = listener.accept()
            except OSError:
                return
            connection = Connection(sock, f"{address[0]}:{address[1]}", self._stopping)
            self._connections.add(connection)
            threading.Thread(target=self._converse, args=(connection, serve), daemon=True).start()

    def _converse(self, connection: Connection, serve: Callable[[Connection, Head], bool]) -> None:
        try:
            while not self._stopping.is_set() and serve(connection, connection.head()):
                pass
        except HeadRefused as refused:
            head = Head("GET", "/", "HTTP/1.1", {"connection": "close"}, 0)
            with contextlib.suppress(Gone):
                send_answer(connection, head, Answer(refused.status), goes_on=False)
        except (Gone, BodyBroken):
            pass
        except Exception as error:  # noqa: BLE001  # a mistake of the double must fail the test, not hang the client
            self.troubles.append(error)
        finally:
            connection.close()
            self._connections.discard(connection)

    def _serve_api(self, connection: Connection, head: Head) -> bool:
        if self.controlled and head.target.startswith(PREFIX):
            return handling.handle_control(self, connection, head)
        record = self._record(connection, head)
        self.requests.append(record)
        return handling.handle(self, connection, head, record)

    def _serve_storage(self, connection: Connection, head: Head) -> bool:
        record = self._record(connection, head)
        self.storage_requests.append(record)
        return handling.handle_storage(self, connection, head, record)

    def _record(self, connection: Connection, head: Head) -> Request:
        return Request(head.method, head.target, head.headers, connection.peer, started=time.monotonic())


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((host, port))
    listener.listen(min(512, socket.SOMAXCONN))
    return listener


@contextmanager
def attic_server(
    folder: Path | None = None,
    *,
    secret: bytes = SECRET,
    compression: Literal["none", "xz"] = "none",
    seed: int = 0,
) -> Iterator[AtticServer]:
    """A server in this process, on a free port of the loopback address, until the end of the block.

    Args:
        folder: where large NARs go; one of its own that is removed if None.
        secret: signs tokens.
        compression: of stored NARs.
        seed: decides which requests faults with a probability hit.

    Raises:
        AssertionError: at the end, if the server itself made a mistake.
    """
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="attic-double-")))
        server = AtticServer(folder, secret=secret, compression=compression, seed=seed)
        stack.callback(server.stop)
        yield server
    if server.troubles:
        raise AssertionError(f"the test server failed: {server.troubles[0]!r}") from server.troubles[0]
