# Pure functions and figures that the image, the modules and users' flakes share. Needs nothing of nixpkgs.
{
  caches = import ./caches.nix;
  chunking = import ./chunking.nix;
  nixConf = import ./nix-conf.nix;
  # For a Prometheus, and for a Grafana.
  monitoring = {
    alertRules = ../monitoring/alert-rules.yml;
    dashboard = ../monitoring/dashboard.json;
  };
}
