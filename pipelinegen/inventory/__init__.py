"""What the flake offers: every output with its derivation, and what failed to evaluate."""
