"""Attic, the double and the real server: that both speak one protocol, and that the double fails as ordered."""
