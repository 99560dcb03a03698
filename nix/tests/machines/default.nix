# The scenarios of docs/concepts/deployment.md on NixOS: a machine that deploys, and machines that are deployed to.
# NOT YET RUN: they are parsed and evaluated by tests/integration/nix, with a stand-in for nixpkgs.
{ pkgs, pipelinegen }:
let
  inherit (builtins) readFile toJSON;

  # One test: its machines, and what the shared helpers are told of them.
  #   hosts    names of the machines that are deployed to
  #   script   file with the scenarios, which comes behind the helpers
  deployment =
    {
      name,
      hosts ? [ "target" ],
      script,
    }:
    pkgs.testers.runNixOSTest {
      name = "pipelinegen-${name}";

      nodes =
        builtins.listToAttrs (
          map (host: {
            name = host;
            value = ./target.nix;
          }) hosts
        )
        // {
          deployer =
            { nodes, ... }:
            {
              imports = [ ./deployer.nix ];
              environment.systemPackages = [ pipelinegen ];
              # Every system that is deployed is in this machine's store, and in no other's.
              virtualisation.additionalPaths = builtins.concatMap (
                host: builtins.attrValues nodes.${host}.system.build.variants
              ) hosts;
            };
        };

      # The machines and the helpers are known to the driver alone.
      skipTypeCheck = true;

      testScript =
        { nodes, ... }:
        let
          known = {
            systems = builtins.listToAttrs (
              map (host: {
                name = host;
                value = nodes.${host}.system.build.variants // {
                  old = nodes.${host}.system.build.toplevel;
                };
              }) hosts
            );
            scenarios = builtins.fromJSON (readFile ./scenarios.json);
          };
        in
        # JSON in a JSON string is a string of Python, too.
        ''
          import json

          KNOWN = json.loads(${toJSON (toJSON known)})
        ''
        + readFile ./deploying.py
        + readFile script;
    };
in
{
  deploy-outcomes = deployment {
    name = "deploy-outcomes";
    script = ./outcomes.py;
  };
  deploy-broken-off = deployment {
    name = "deploy-broken-off";
    script = ./broken_off.py;
  };
  deploy-refusals = deployment {
    name = "deploy-refusals";
    script = ./refusals.py;
  };
  deploy-fleet = deployment {
    name = "deploy-fleet";
    hosts = [
      "canary"
      "host1"
      "host2"
      "host3"
      "host4"
    ];
    script = ./fleet.py;
  };
}
