# What developing pipelinegen takes: its dependencies, the linters and the tools that tests call.
# The lab (machines with systemd, a pipeline runner) is Debian's: see docs/how-to/develop-pipelinegen.md.
{
  check-jsonschema,
  mkShell,
  python3Packages,
  pipelinegen,
  gitMinimal,
  nix,
  openssh,
  ruff,
  shellcheck,
  zstd,
}:
mkShell {
  inputsFrom = [ pipelinegen ];
  packages = [
    gitMinimal
    nix
    openssh
    ruff
    shellcheck
    zstd
  ]
  ++ [
    python3Packages.hypothesis
    python3Packages.jsonschema
    python3Packages.mypy
    python3Packages.pynacl
    python3Packages.pytest
    python3Packages.pytest-xdist
    python3Packages.syrupy
    python3Packages.types-pyyaml
    # Not the program: the tests read the GitLab schema that it ships.
    (python3Packages.toPythonModule check-jsonschema)
  ];
}
