"""What the binary caches already hold, and putting paths into them."""
