# Where the server listens, and under which name it is reached.
{
  cfg,
  settings,
  site,
  words,
  ...
}:
let
  inherit (builtins) elem match toJSON;
  inherit (words) is option rule;

  endpoint = settings.api-endpoint or "";

  # Tailscale has certificates for its own names, which Caddy asks it for, and NixOS's ACME proves domains in the DNS.
  certified =
    cfg.access.dnsChallenge != null
    || match ".*\\.ts\\.net" cfg.domain != null
    || (site.useACMEHost or null) != null;
in
[
  (rule "domain" (!is.isHostName cfg.domain)
    "`${option "domain"}` is ${toJSON cfg.domain}: it must be a host name alone, such as cache.example.org, without scheme, port or path."
  )
  (rule "listen" (
    !is.isSocketAddress (settings.listen or "")
  ) "`${option "listen"}` must be an address of numbers and a port, such as 127.0.0.1:8080: atticd resolves no names.")
  (rule "listen-everywhere" (cfg.proxy.enable && !is.isLoopback (settings.listen or "[::]:8080"))
    "atticd listens on ${settings.listen or "all interfaces"}, past the proxy and without TLS: set `${option "listen"}` to an address of this machine alone, such as 127.0.0.1:8080."
  )
  (rule "endpoint-slash" (!is.endsInSlash endpoint)
    "`services.atticd.settings.api-endpoint` is ${toJSON endpoint} and must end in a slash: Attic joins it with a cache's name as it is."
  )
  (rule "endpoint-https" (
    !is.isHttps endpoint
  ) "`services.atticd.settings.api-endpoint` is ${toJSON endpoint} and must begin with https://: tokens travel to it.")
  (rule "allowed-hosts" (!elem cfg.domain (settings.allowed-hosts or [ ]))
    "`services.atticd.settings.allowed-hosts` must name ${cfg.domain}: Attic answers every other name with 400 \"Bad Host\"."
  )
  (rule "tailscale-certificate" (cfg.access.tailscaleOnly && cfg.proxy.enable && !certified)
    "With `${option "access.tailscaleOnly"}` no certificate authority reaches this server: set `${option "access.dnsChallenge"}`, which proves the domain in the DNS, or `useACMEHost` of Caddy's site, or take a name of Tailscale's (….ts.net)."
  )
  (rule "dns-directive" (
    cfg.access.dnsChallenge != null && match "[^\n]+" cfg.access.dnsChallenge.caddyDirective == null
  ) "`${option "access.dnsChallenge.caddyDirective"}` must be one line, such as cloudflare {env.CLOUDFLARE_API_TOKEN}.")
]
