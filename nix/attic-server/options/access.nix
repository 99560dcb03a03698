# Who reaches the server, and by which way.
{ lib, ... }:
let
  inherit (lib) mkOption types;

  challenge = {
    options = {
      caddyDirective = mkOption {
        type = types.str;
        example = "cloudflare {env.CLOUDFLARE_API_TOKEN}";
        description = ''
          What stands behind `dns` in Caddy's `tls` block. The provider is a plugin that `services.caddy.package` must
          have.
        '';
      };

      credentialsFile = mkOption {
        type = types.nullOr (types.strMatching "/.+");
        default = null;
        example = "/run/secrets/caddy-dns.env";
        description = "A file of lines `KEY=value` for Caddy's environment, with what the directive names.";
      };
    };
  };
in
{
  options.services.pipelinegen.attic-server = {
    access = {
      tailscaleOnly = mkOption {
        type = types.bool;
        default = false;
        description = ''
          Whether only machines of the tailnet are answered. Clients still need a way to the bucket: Attic sends them
          there for every NAR that is one chunk. Certificates then want `access.dnsChallenge`, since nobody outside
          can ask this server for proof.
        '';
      };

      tailscaleInterface = mkOption {
        type = types.str;
        default = "tailscale0";
        description = "The interface of Tailscale, on which alone the firewall is opened with `access.tailscaleOnly`.";
      };

      openFirewall = mkOption {
        type = types.bool;
        default = true;
        description = "Whether to open the ports 80 and 443, on all interfaces or on Tailscale's.";
      };

      dnsChallenge = mkOption {
        type = types.nullOr (types.submodule challenge);
        default = null;
        description = "How to prove to the certificate authority that the domain is yours by a record in its DNS.";
      };
    };

    proxy = {
      enable = mkOption {
        type = types.bool;
        default = true;
        description = "Whether Caddy stands before the server, with a certificate for `domain`.";
      };

      email = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "ops@example.org";
        description = "Where the certificate authority writes to when certificates go wrong.";
      };

      extraConfig = mkOption {
        type = types.lines;
        default = "";
        example = "log";
        description = "More lines for the site in Caddy's configuration, before those that pass requests on.";
      };
    };
  };
}
