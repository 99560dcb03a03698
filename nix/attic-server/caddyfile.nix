# Caddy's words for a site before atticd, as { global; site; }: what goes into the options block, and what into the
# site's.
#
#   upstream       "127.0.0.1:8080"
#   tailscaleOnly  whether only the tailnet is answered
#   metrics        whether Caddy measures what it answers
#   dns            what stands behind `dns` in the tls block, or null
#   extraConfig    lines of the user's own
#
# Bodies of requests have no limit in Caddy unless a site sets one, and are passed on as they come, as are answers of
# unknown length, which all NARs are. `flush_interval -1` would add only that atticd is not told when a client left.
{
  upstream,
  tailscaleOnly ? false,
  metrics ? false,
  dns ? null,
  extraConfig ? "",
}:
let
  inherit (builtins)
    concatStringsSep
    filter
    isString
    split
    ;

  lines = text: filter (line: isString line && line != "") (split "\n" text);
  indented = map (line: "\t" + line);
  text = all: concatStringsSep "" (map (line: line + "\n") all);

  # The addresses that Tailscale gives to machines.
  tailnet = "100.64.0.0/10 fd7a:115c:a1e0::/48";

  pass = [
    "reverse_proxy ${upstream} {"
    # atticd starts anew within seconds: better wait than fail. Only from Caddy 2.11.2 on do requests with a body, too
    # (https://github.com/caddyserver/caddy/pull/7547); before, a push gets 502 and has to be tried again.
    "\tlb_try_duration 20s"
    "\tlb_try_interval 250ms"
    "\ttransport http {"
    "\t\tdial_timeout 5s"
    # Once it has a body, atticd may store for long before it answers: no other limit of time.
    "\t\tkeepalive 60s"
    "\t}"
    "}"
  ];

  certificate =
    if dns == null then
      [ ]
    else
      [
        "tls {"
        "\tdns ${dns}"
        "}"
      ];

  answer =
    if tailscaleOnly then
      [
        "@outside not remote_ip ${tailnet}"
        "handle @outside {"
        "\trespond \"Only from within the tailnet\" 403 {"
        # Nobody waits for the body of a push that is refused.
        "\t\tclose"
        "\t}"
        "}"
        "handle {"
      ]
      ++ indented pass
      ++ [ "}" ]
    else
      pass;
in
{
  # Of all sites on this Caddy. A head comes at once or not at all; bodies, both ways, may take for ever.
  global = text (
    [
      "servers {"
      "\ttimeouts {"
      "\t\tread_header 1m"
      "\t\tread_body 0s"
      "\t\twrite 0s"
      "\t\tidle 5m"
      "\t}"
    ]
    ++ (if metrics then [ "\tmetrics" ] else [ ])
    ++ [
      "}"
      # A new configuration waits for running uploads, and not for ever.
      "grace_period 2m"
    ]
  );

  site = text (certificate ++ lines extraConfig ++ answer);
}
