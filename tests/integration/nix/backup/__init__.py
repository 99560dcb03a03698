"""Backups of the cache server, with a real PostgreSQL, rclone and age, and the real atticd where it is built."""
