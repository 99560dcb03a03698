"""The repository's own flake: its package and its virtual machines, as far as they evaluate without nixpkgs."""
