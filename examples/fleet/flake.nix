# A small fleet: three machines, the packages that run on them, and their checks.
#
# The flake has no inputs, needs nothing from the network and builds in seconds: every derivation is a
# /bin/sh script. Still it has the shape of a real repository, and the properties that matter to a pipeline:
#
#   pkgs/    one file per library or package. Some libraries are outputs of the flake, some are not;
#            who uses which is written in pkgs/default.nix and drawn in README.md.
#   checks/  one file per check, each about one package.
#   hosts/   one file per machine; a machine contains some of the packages.
#   lib/     how a derivation and a system are made.
#
# Nothing here depends on `self`: a commit that touches only the documentation changes no derivation.
{
  description = "A fleet of three machines, without inputs";

  outputs =
    { self }:
    let
      system = "x86_64-linux";
      packagesFor = system: import ./pkgs { inherit system; };
      packages = packagesFor system;

      hostNames = [
        "db1"
        "web1"
        "web2"
      ];
      machine =
        name:
        import ./lib/system.nix {
          inherit system name;
          host = import (./hosts + "/${name}.nix") { inherit packages; };
        };
      # The shape in which NixOS offers a machine, as far as its tools read it.
      nixosConfiguration = name: { config.system.build.toplevel = machine name; };
      named =
        names: value:
        builtins.listToAttrs (
          map (name: {
            inherit name;
            value = value name;
          }) names
        );
    in
    {
      packages.${system} = {
        inherit (packages)
          api
          backup
          cli
          database
          libhttp
          website
          ;
        default = packages.cli;
        # A name that has to be quoted wherever it is written.
        "hello 2.0" = packages.hello;
      };

      # Another system: it evaluates anywhere and builds only on such a machine.
      packages.aarch64-linux.cli = (packagesFor "aarch64-linux").cli;

      checks.${system} = import ./checks { inherit system packages; };

      nixosConfigurations = named hostNames nixosConfiguration;

      devShells.${system}.default = import ./lib/dev-shell.nix {
        inherit system;
        inputs = [
          packages.cli
          packages.render
        ];
      };

      formatter.${system} = packages.format;

      # No derivations, thus nothing for a pipeline to do.
      apps.${system}.default = {
        type = "app";
        program = "${packages.cli}/bin/fleet";
      };
      lib.hostNames = hostNames;
      overlays.default = final: prev: { fleet = packages; };
    };
}
