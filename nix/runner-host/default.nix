# A GitLab runner on NixOS for pipelinegen's jobs: who runs them, in which Nix store, and what keeps the disk from
# filling up. docs/how-to/set-up-a-runner.md says which to choose.
{
  imports = [
    ./options.nix
    ./hygiene-options.nix
    ./runners.nix
    ./service.nix
    ./store.nix
    ./kvm.nix
    ./hygiene.nix
    ./settings.nix
    ./assertions.nix
  ];
}
