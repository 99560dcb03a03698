"""The base of every value that flows through pipelinegen: frozen, strict about unknown keys."""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """An immutable value; equality is by content, unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def digest(value: object) -> str:
    """A digest of a plain JSON value, 64 hexadecimal digits; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
