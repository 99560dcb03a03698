# pantherOS: one server, which also holds the cache that its pipeline pushes to.
{
  description = "pantherOS";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
    pipelinegen = {
      url = "gitlab:your-group/pipelinegen";
      inputs.nixpkgs.follows = "nixpkgs";
    };
    opnix = {
      url = "github:brizzbuzz/opnix";
      inputs.nixpkgs.follows = "nixpkgs";
    };
  };

  outputs =
    {
      self,
      nixpkgs,
      pipelinegen,
      opnix,
    }:
    let
      system = "x86_64-linux";
      pkgs = nixpkgs.legacyPackages.${system};

      settings = import ./settings.nix;
      # The pipeline and the machines read the same file: a cache is written down once.
      pipeline = builtins.fromTOML (builtins.readFile ./pipelinegen.toml);
      caches = pipelinegen.lib.caches.ofConfig pipeline;
    in
    {
      nixosConfigurations.hetzner-vps = nixpkgs.lib.nixosSystem {
        inherit system;
        specialArgs = {
          inherit settings;
          cachesOfServer = pipelinegen.lib.caches.provisionedBy settings.domain pipeline;
          nixSettings = pipelinegen.lib.caches.settingsFor caches;
        };
        modules = [
          pipelinegen.nixosModules.attic-server
          opnix.nixosModules.default
          ./hosts/servers/hetzner-vps
        ];
      };

      packages.${system}.ci-image = pipelinegen.packages.${system}.ci-image.override { inherit caches; };

      # A machine that boots with the server's own settings and is asked for what clients ask: an integration test.
      checks.${system}.cache-answers = pkgs.testers.runNixOSTest (
        import ./checks/cache-answers.nix {
          inherit settings;
          inherit (pipelinegen.nixosModules) attic-server;
        }
      );
    };
}
