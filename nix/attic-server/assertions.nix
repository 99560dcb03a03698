# Mistakes are refused with a sentence, before anything is built.
{
  config,
  lib,
  options,
  ...
}:
let
  cfg = config.services.pipelinegen.attic-server;

  available = options.services ? onepassword-secrets;

  rules = import ./rules {
    inherit cfg;
    inherit (config.services.atticd) settings;
    inherit (config.systemd) services;
    inherit (config.networking) firewall;
    site = config.services.caddy.virtualHosts.${cfg.domain} or { };
    opnix = {
      inherit available;
      secrets = lib.optionalAttrs available config.services.onepassword-secrets.secrets;
    };
  };
in
{
  config = lib.mkIf cfg.enable {
    assertions = map (rule: {
      assertion = !rule.wrong;
      message = rule.text;
    }) rules.errors;

    warnings = map (rule: rule.text) (builtins.filter (rule: rule.wrong) rules.warnings);
  };
}
