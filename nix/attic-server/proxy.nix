# Caddy before the server, and what the firewall lets through.
{ config, lib, ... }:
let
  inherit (lib) mkIf mkMerge optionals;

  cfg = config.services.pipelinegen.attic-server;
  inherit (cfg) access proxy;

  caddyfile = import ./caddyfile.nix {
    upstream = cfg.listen;
    inherit (access) tailscaleOnly;
    inherit (proxy) extraConfig;
    metrics = cfg.monitoring.enable && cfg.monitoring.caddy.enable;
    dns = if access.dnsChallenge == null then null else access.dnsChallenge.caddyDirective;
  };

  opnix = cfg.secrets.opnix.enable && cfg.secrets.opnix.references.dnsCredentials != null;
  credentials =
    if access.dnsChallenge != null && access.dnsChallenge.credentialsFile != null then
      access.dnsChallenge.credentialsFile
    else if access.dnsChallenge != null && opnix then
      "${config.services.onepassword-secrets.outputDir or "/var/lib/opnix/secrets"}/atticDnsCredentials"
    else
      null;

  ports = {
    # 80 answers with the way to 443, and to the certificate authority.
    allowedTCPPorts = [
      80
      443
    ];
    # HTTP/3.
    allowedUDPPorts = [ 443 ];
  };
in
{
  config = mkIf (cfg.enable && proxy.enable) {
    services.caddy = {
      enable = true;
      email = mkIf (proxy.email != null) proxy.email;
      globalConfig = caddyfile.global;
      virtualHosts.${cfg.domain}.extraConfig = caddyfile.site;
    };

    systemd.services.caddy = mkIf (credentials != null) {
      # `services.caddy.environmentFile`, which NixOS 24.11 does not have.
      serviceConfig.EnvironmentFile = [ credentials ];
      unitConfig.RequiresMountsFor = [ credentials ];
      after = optionals opnix [ "opnix-secrets.service" ];
      wants = optionals opnix [ "opnix-secrets.service" ];
    };

    networking.firewall = mkIf access.openFirewall (mkMerge [
      (mkIf access.tailscaleOnly { interfaces.${access.tailscaleInterface} = ports; })
      (mkIf (!access.tailscaleOnly) ports)
    ]);
  };
}
