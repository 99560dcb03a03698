# What can be set of the exporters. `monitoring.enable` is with the other options of the server.
{ config, lib, ... }:
let
  inherit (lib)
    literalExpression
    mkEnableOption
    mkOption
    types
    ;

  cfg = config.services.pipelinegen.attic-server;

  on = about: mkEnableOption about // { default = true; };
  port =
    default: about:
    mkOption {
      type = types.port;
      inherit default;
      description = "The port of ${about}.";
    };
in
{
  options.services.pipelinegen.attic-server.monitoring = {
    listenAddress = mkOption {
      type = types.str;
      default = "127.0.0.1";
      example = "100.101.102.103";
      description = ''
        The address on which all exporters listen: of this machine alone, or its address in the tailnet. In the latter
        case the firewall is opened for their ports on `access.tailscaleInterface`, and nowhere else. None of them
        asks who is there.
      '';
    };

    node = {
      enable = on "the node exporter, which also serves what this server's own programs count";
      port = port 9100 "the node exporter";
    };

    postgres = {
      enable = mkOption {
        type = types.bool;
        default = cfg.database.createLocally;
        defaultText = literalExpression "database.createLocally";
        description = "Whether to run the PostgreSQL exporter, with a role of its own that may read statistics alone.";
      };
      port = port 9187 "the PostgreSQL exporter";
    };

    caddy = {
      enable = mkOption {
        type = types.bool;
        default = cfg.proxy.enable;
        defaultText = literalExpression "proxy.enable";
        description = "Whether Caddy measures how long answers take, and serves that.";
      };
      port = port 9180 "Caddy's metrics";
    };

    probe = {
      enable = on "the blackbox exporter, which asks for the server's front page as a client does";
      port = port 9115 "the blackbox exporter";
    };

    storage = {
      enable = mkOption {
        type = types.bool;
        default = cfg.database.createLocally;
        defaultText = literalExpression "database.createLocally";
        description = "Whether to count regularly what the caches hold.";
      };
      startAt = mkOption {
        type = types.str;
        default = "*:40";
        example = "04:20";
        description = "When to count, as systemd's `OnCalendar` takes it. Millions of chunks take seconds.";
      };
    };

    pushgateway = {
      enable = mkEnableOption "a Pushgateway, to which CI jobs send what they measured";
      port = port 9091 "the Pushgateway";
      passwordHash = mkOption {
        type = types.nullOr (types.strMatching "[$]2[aby][$][0-9]{2}[$][./0-9A-Za-z]{53}");
        default = null;
        example = "$2b$05$…";
        description = ''
          What `mkpasswd --method=bcrypt --rounds=5` makes of the token of the jobs. It is in the world-readable Nix
          store, so the token must be one that nobody guesses, such as `openssl rand -hex 32` gives it. The hash of such
          a token need not be slow, and should not: strangers, too, keep the machine busy with it.
        '';
      };
    };
  };
}
