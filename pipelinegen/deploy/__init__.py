"""Bringing one host to a system, or leaving it as it was, and saying which."""
