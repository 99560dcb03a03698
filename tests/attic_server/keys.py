"""Signing keys in Nix's form: `name:base64`, ed25519."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from nacl.signing import SigningKey


@dataclass(frozen=True)
class Keypair:
    """A key and the name that its signatures carry."""

    name: str
    key: SigningKey

    @classmethod
    def generate(cls, name: str) -> Keypair:
        """A random key."""
        return cls(name, SigningKey.generate())

    @classmethod
    def parse(cls, text: str) -> Keypair:
        """A key from `name:base64` of 64 bytes, the secret seed and the public key.

        Raises:
            ValueError: not such a text, with the sentence that Attic would say.
        """
        name, colon, payload = text.partition(":")
        if not colon:
            raise ValueError("Signing error: The string lacks a colon separator.")
        if not name or not payload:
            raise ValueError(f"Signing error: The {'name' if not name else 'payload'} portion of the string is blank.")
        try:
            raw = base64.b64decode(payload, validate=True)
        except binascii.Error as error:
            raise ValueError(f"Signing error: Base64 decode error: {error}") from error
        if len(raw) != 64:
            raise ValueError(f"Signing error: Invalid base64 payload length: Expected 64 (keypair), got {len(raw)}")
        return cls(name, SigningKey(raw[:32]))

    def secret(self) -> str:
        """The whole key, for `nix store sign` or another server."""
        return f"{self.name}:{base64.b64encode(bytes(self.key) + bytes(self.key.verify_key)).decode('ascii')}"

    def public(self) -> str:
        """What goes into `trusted-public-keys`."""
        return f"{self.name}:{base64.b64encode(bytes(self.key.verify_key)).decode('ascii')}"

    def sign(self, text: str) -> str:
        """The content of a `Sig` field."""
        return f"{self.name}:{base64.b64encode(self.key.sign(text.encode()).signature).decode('ascii')}"
