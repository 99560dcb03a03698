# What a flake says of the hosts it deploys by other tools: plain values, nothing of the systems themselves.
#
# Gives null where the flake says nothing, else a set with `nodes` (names only, where `only` is null).
{
  # The outputs of the flake.
  outputs,
  # "deploy-rs" or "colmena"
  tool,
  # Names of the nodes to describe; null lists them.
  only,
}:
let
  inherit (builtins)
    attrNames filter isAttrs isBool isInt isList isString listToAttrs map mapAttrs typeOf unsafeDiscardStringContext;

  # Whatever JSON cannot say, or says by building something (a path, a derivation), is named by its type.
  plain =
    value:
    if isString value then
      unsafeDiscardStringContext value
    else if isInt value || isBool value || typeOf value == "null" then
      value
    else if isList value then
      map plain value
    else
      { type = typeOf value; };

  pick =
    names: set:
    listToAttrs (
      map (name: {
        inherit name;
        value = plain set.${name};
      }) (filter (name: set ? ${name}) names)
    );

  described =
    names: describe: more:
    more // { nodes = if only == null then names else map (name: { inherit name; } // describe name) only; };

  # https://github.com/serokell/deploy-rs, src/data.rs: what may stand in a profile, a node, or above all nodes.
  settings = pick [
    "activationTimeout"
    "autoRollback"
    "confirmTimeout"
    "fastConnection"
    "interactiveSudo"
    "magicRollback"
    "sshOpts"
    "sshUser"
    "sudo"
    "user"
  ];

  deployRs =
    if !(outputs ? deploy.nodes) then
      null
    else
      described (attrNames outputs.deploy.nodes)
        (
          name:
          let
            node = outputs.deploy.nodes.${name};
          in
          {
            hostname = plain (node.hostname or null);
            settings = settings node;
            profiles = mapAttrs (_: settings) (node.profiles or { });
          }
        )
        { settings = settings outputs.deploy; };

  # https://github.com/zhaofengli/colmena, src/nix/hive/eval.nix and options.nix.
  hive = outputs.colmenaHive;
  colmena =
    if outputs ? colmenaHive.deploymentConfig then
      described (attrNames hive.deploymentConfig) (
        name:
        let
          deployment = hive.deploymentConfig.${name};
        in
        {
          settings = pick [
            "privilegeEscalationCommand"
            "replaceUnknownProfiles"
            "sshOptions"
            "targetHost"
            "targetPort"
            "targetUser"
          ] deployment;
          # Their contents are secrets.
          keys = if isAttrs (deployment.keys or null) then attrNames deployment.keys else [ ];
        }
      ) { }
    else if outputs ? colmena || outputs ? colmenaHive then
      { unevaluated = true; }
    else
      null;
in
{
  "deploy-rs" = deployRs;
  inherit colmena;
}
.${tool}
