# What Prometheus is told. docs/how-to/monitor.md says how to use it, docs/reference/metrics.md what there is.
{
  imports = [
    ./monitoring/options.nix
    ./monitoring/exporters.nix
    ./monitoring/pushgateway.nix
    ./monitoring/storage.nix
  ];
}
