# `[caches.…]` of the pipelinegen.toml with which the server's own caches are made. Pure.
let
  inherit (builtins) mapAttrs;

  inherit ((import ../lib).caches) onAttic;
in
{ domain, caches }:
mapAttrs (name: cache: {
  backend = "attic";
  inherit (cache) url priority;
  # Nothing is pushed with this file; "upstream" alone would not be provisioned.
  writers = "protected";
  inherit (caches.${name}) public;
  retention = if caches.${name}.retention == null then "server" else caches.${name}.retention;
  upstream_keys = caches.${name}.upstreamKeys;
}) (onAttic domain caches)
