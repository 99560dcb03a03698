# A Pushgateway, and the one way to it from outside: jobs may replace what jobs have sent, and do nothing else.
{ config, lib, ... }:
let
  inherit (lib) mkAfter mkIf;

  cfg = config.services.pipelinegen.attic-server;
  inherit (cfg.monitoring) listenAddress pushgateway;
  host = if lib.hasInfix ":" listenAddress then "[${listenAddress}]" else listenAddress;
  upstream = "${host}:${toString pushgateway.port}";
in
{
  config = mkIf (cfg.enable && cfg.monitoring.enable && pushgateway.enable) {
    assertions = [
      {
        assertion = cfg.proxy.enable -> pushgateway.passwordHash != null;
        message = ''
          `services.pipelinegen.attic-server.monitoring.pushgateway.passwordHash` is missing: without it everybody could
          write metrics. Make a token with `openssl rand -hex 32`, and its hash with
          `mkpasswd --method=bcrypt --rounds=5`.'';
      }
      {
        assertion = !(cfg.caches ? pushgateway);
        message = "a cache cannot be called `pushgateway` where there is a Pushgateway: they would have one address.";
      }
    ];

    services.prometheus.pushgateway = {
      enable = true;
      web.listen-address = upstream;
      # Else a restart of the machine loses what the latest deployment of each host came to.
      persistMetrics = true;
    };
    systemd.services.pushgateway = {
      startLimitIntervalSec = 0;
      serviceConfig.RestartSec = "10s";
    };

    # Behind the answer to strangers, where only the tailnet is answered; before what goes to atticd.
    services.caddy.virtualHosts.${cfg.domain}.extraConfig = mkIf cfg.proxy.enable (mkAfter ''
      @metrics {
      	method PUT
      	path /pushgateway/metrics/job/pipelinegen/*
      }
      handle @metrics {
      	basic_auth {
      		pipelinegen ${toString pushgateway.passwordHash}
      	}
      	request_body {
      		max_size 4MB
      	}
      	uri strip_prefix /pushgateway
      	reverse_proxy ${upstream} {
      		header_up -Authorization
      	}
      }
    '');
  };
}
