"""The base of every value that flows through pipelinegen: frozen, strict about unknown keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """An immutable value; equality is by content, unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
