# The exporters of nixpkgs, each on the one address.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib)
    concatMap
    hasPrefix
    mkIf
    mkMerge
    optional
    ;

  cfg = config.services.pipelinegen.attic-server;
  inherit (cfg) monitoring;
  address = monitoring.listenAddress;
  metricsFolder = "/var/lib/attic-metrics";

  isLocal = hasPrefix "127." address || address == "::1" || address == "localhost";
  # In front of a port.
  host = if lib.hasInfix ":" address then "[${address}]" else address;

  exporters = concatMap (name: optional monitoring.${name}.enable name) [
    "node"
    "postgres"
    "probe"
  ];
  ports = map (name: monitoring.${name}.port) (
    exporters ++ optional monitoring.caddy.enable "caddy" ++ optional monitoring.pushgateway.enable "pushgateway"
  );
  units = map (name: "prometheus-${if name == "probe" then "blackbox" else name}-exporter") exporters;
in
{
  config = mkIf (cfg.enable && monitoring.enable) (mkMerge [
    {
      assertions = [
        {
          assertion =
            !builtins.elem address [
              ""
              "*"
              "0.0.0.0"
              "::"
              "[::]"
            ];
          message = ''
            `services.pipelinegen.attic-server.monitoring.listenAddress` is every address of the machine, and exporters
            ask nobody who they are: take 127.0.0.1, or the machine's address in the tailnet.'';
        }
        {
          assertion = monitoring.caddy.enable -> cfg.proxy.enable;
          message = "`services.pipelinegen.attic-server.monitoring.caddy` measures the proxy, which is off.";
        }
      ];

      # Programs that may write nowhere else want it to be there.
      systemd.tmpfiles.rules = [ "d ${metricsFolder} 0755 root root -" ];

      networking.firewall.interfaces = mkIf (!isLocal) {
        ${cfg.access.tailscaleInterface}.allowedTCPPorts = ports;
      };

      # Tailscale gives the machine its address some time after it has started.
      systemd.services = mkIf (!isLocal) (
        lib.genAttrs units (_: {
          startLimitIntervalSec = 0;
          serviceConfig.RestartSec = "10s";
        })
      );
    }

    (mkIf monitoring.node.enable {
      services.prometheus.exporters.node = {
        enable = true;
        listenAddress = host;
        inherit (monitoring.node) port;
        enabledCollectors = [ "systemd" ];
        extraFlags = [ "--collector.textfile.directory=${metricsFolder}" ];
      };
    })

    (mkIf monitoring.postgres.enable {
      services.prometheus.exporters.postgres = {
        enable = true;
        listenAddress = host;
        inherit (monitoring.postgres) port;
        # By its own name through the socket: no password, and no right but to connect.
        dataSourceName = "user=postgres-exporter database=atticd host=/run/postgresql sslmode=disable";
      };
      services.postgresql.ensureUsers = [ { name = "postgres-exporter"; } ];
      systemd.services.prometheus-postgres-exporter = {
        after = [ "postgresql.service" ];
        wants = [ "postgresql.service" ];
      };
    })

    (mkIf monitoring.probe.enable {
      services.prometheus.exporters.blackbox = {
        enable = true;
        listenAddress = host;
        inherit (monitoring.probe) port;
        configFile = pkgs.writeText "blackbox.yml" (builtins.readFile ./blackbox.yml);
      };
    })

    (mkIf monitoring.caddy.enable {
      # An address that is not there yet would keep all of Caddy from starting: it listens on all, and looks who asks.
      services.caddy.virtualHosts."http://:${toString monitoring.caddy.port}".extraConfig =
        if isLocal then
          ''
            bind ${address}
            metrics /metrics
          ''
        else
          ''
            @inside remote_ip 127.0.0.1/8 ::1 100.64.0.0/10 fd7a:115c:a1e0::/48
            handle @inside {
            	metrics /metrics
            }
            handle {
            	abort
            }
          '';
    })
  ]);
}
