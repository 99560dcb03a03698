"""Which words of Nix and SSH mean trouble that passes by itself. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

_PASSING = re.compile(
    r"""
    HTTP\ error\ (?:429|5\d\d)
  | [Cc]ouldn't\ (?:connect|resolve\ host)
  | [Cc]ould\ not\ (?:connect|resolve\ host)
  | [Cc]onnection\ (?:refused|reset|timed\ out)
  | cannot\ (?:open\ connection|connect\ to)
  | Timeout\ was\ reached | Operation\ timed\ out
  | unexpected\ end-of-file
  | No\ space\ left\ on\ device
    """,
    re.VERBOSE,
)


def passing(texts: Iterable[str]) -> str | None:
    """The first text that speaks of trouble which a second try, perhaps elsewhere, may not have."""
    return next((text for text in texts if _PASSING.search(text)), None)
