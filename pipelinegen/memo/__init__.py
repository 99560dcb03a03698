"""What evaluations read of the flake's source, kept, so that only what a change can reach is evaluated again."""
