# The machine that deploys, as a CI job does: it has the systems in its store, and ssh.
{ lib, ... }:
{
  virtualisation.writableStore = true;
  virtualisation.memorySize = 2048;
  nix.settings = {
    substituters = lib.mkForce [ ];
    experimental-features = [
      "nix-command"
      "flakes"
    ];
  };
}
