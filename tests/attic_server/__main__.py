"""The double as a process of its own: prints its addresses as one line of JSON, then serves until it is told to stop.

It ends on SIGTERM or SIGINT, and with `--while-stdin` when its input ends, thus never later than who started it.
`/_control/…` of its address steers it (see control.py).
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from pathlib import Path

from tests.attic_server.control import fault_from_json
from tests.attic_server.server import AtticServer


def main() -> None:
    """Parse, serve, stop."""
    parser = argparse.ArgumentParser(prog="python -m tests.attic_server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--folder", type=Path, required=True, help="where large NARs go")
    parser.add_argument("--cache", action="append", default=[], metavar="NAME[:public]")
    parser.add_argument("--fault", action="append", default=[], metavar="JSON", help="see control.py")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compression", choices=("none", "xz"), default="none")
    parser.add_argument("--redirect-nars", action="store_true")
    parser.add_argument("--while-stdin", action="store_true", help="stop when the input ends")
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    server = AtticServer(
        options.folder,
        host=options.host,
        port=options.port,
        compression=options.compression,
        seed=options.seed,
        controlled=True,
    )
    server.redirect_nars = options.redirect_nars
    keys = {}
    for text in options.cache:
        name, _, visibility = text.partition(":")
        keys[name] = server.create_cache(name, public=visibility == "public")
    server.faults.add(*(fault_from_json(json.loads(text)) for text in options.fault))
    sys.stdout.write(json.dumps({"url": server.url, "storage_url": server.storage_url, "public_keys": keys}) + "\n")
    sys.stdout.flush()
    if options.while_stdin:
        threading.Thread(target=_stop_at_end_of_input, args=(stop,), daemon=True).start()
    stop.wait()
    server.stop()


def _stop_at_end_of_input(stop: threading.Event) -> None:
    sys.stdin.read()
    stop.set()


main()
