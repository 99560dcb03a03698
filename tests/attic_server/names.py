"""Names and hashes as Attic and Nix write them."""

from __future__ import annotations

import re

CACHE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-_+]{0,49}")
CACHE_PATTERN = re.compile(r"[A-Za-z0-9*][A-Za-z0-9\-_+*]{0,49}")
ALPHABET = "0123456789abcdfghijklmnpqrsvwxyz"
PATH_HASH = re.compile(f"[{ALPHABET}]{{32}}")
_HEX = re.compile(r"[0-9a-fA-F]{64}")
_BASE32 = re.compile(f"[{ALPHABET}]{{52}}")


def to_base32(digest: bytes) -> str:
    """Nix's base 32: 5 bits a character, from the last to the first."""
    number, length = int.from_bytes(digest, "little"), (len(digest) * 8 - 1) // 5 + 1
    return "".join(ALPHABET[(number >> (5 * place)) & 31] for place in reversed(range(length)))


def from_base32(text: str) -> bytes:
    """The 32 bytes of a hash of 52 characters.

    Raises:
        ValueError: it does not fit 32 bytes.
    """
    number = 0
    for character in text:
        number = number * 32 + ALPHABET.index(character)
    if number >> 256:
        raise ValueError("more than 256 bits")
    return number.to_bytes(32, "little")


def parse_hash(text: str) -> str:
    """The 64 hex digits of a typed SHA-256.

    Raises:
        ValueError: not a form that Attic takes, with the sentence it would say.
    """
    kind, colon, digits = text.partition(":")
    if not colon:
        raise ValueError("Hashing error: The string lacks a colon separator.")
    if kind != "sha256":
        raise ValueError(f"Hashing error: Hash algorithm {kind} is not supported.")
    if _HEX.fullmatch(digits):
        return digits.lower()
    if _BASE32.fullmatch(digits):
        return from_base32(digits).hex()
    if len(digits) in {52, 64}:
        raise ValueError("Hashing error: Invalid hash.")
    raise ValueError(
        "Hashing error: Invalid length for SHA-256 string: Must be either 64 (hexadecimal) or 52 (base32), "
        f"got {len(digits)}."
    )


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern of a token covers a cache; `*` stands for any characters, also none."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) is not None
