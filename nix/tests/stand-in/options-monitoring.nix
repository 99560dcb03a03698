# What monitoring touches: three exporters and the Pushgateway, with the types that the manual gives them.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  exporter = port: more: {
    enable = option types.bool false;
    port = option types.port port;
    listenAddress = option types.str "0.0.0.0";
    extraFlags = option (types.listOf types.str) [ ];
    openFirewall = option types.bool false;
    user = mkOption { type = types.str; };
  }
  // more;
in
{
  options.services.prometheus = {
    exporters = {
      node = exporter 9100 {
        enabledCollectors = option (types.listOf types.str) [ ];
        disabledCollectors = option (types.listOf types.str) [ ];
      };
      postgres = exporter 9187 {
        dataSourceName = option types.str "user=postgres database=postgres host=/run/postgresql sslmode=disable";
        runAsLocalSuperUser = option types.bool false;
        environmentFile = option (types.nullOr types.path) null;
      };
      blackbox = exporter 9115 {
        configFile = mkOption { type = types.path; };
        enableConfigCheck = option types.bool true;
      };
    };
    pushgateway = {
      enable = option types.bool false;
      web.listen-address = option (types.nullOr types.str) null;
      web.external-url = option (types.nullOr types.str) null;
      persistMetrics = option types.bool false;
      stateDir = option types.str "pushgateway";
      extraFlags = option (types.listOf types.str) [ ];
    };
  };
}
