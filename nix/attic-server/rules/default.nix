# What is refused, and what is warned of: { errors; warnings; }, each a list of { name; wrong; text; }. Pure.
#
#   cfg           our options
#   settings      what atticd is configured with in the end
#   services      systemd's, by name
#   opnix         { available; secrets; }: whether its module is imported, and what it is told to fetch
#   firewall      { enable; allowedTCPPorts; }
#   site          the options of Caddy's site, { } where there is none
found:
let
  option = name: "services.pipelinegen.attic-server.${name}";
  rule = name: wrong: text: { inherit name wrong text; };

  words = {
    is = import ../predicates.nix;
    none = values: values == [ ];
    list = builtins.concatStringsSep ", ";
    inherit option rule;
  };

  of = file: import file (found // { inherit words; });
  backup = of ./backup.nix;
in
{
  errors = builtins.concatMap of [
    ./address.nix
    ./storage.nix
    ./secrets.nix
    ./keeping.nix
  ] ++ backup.errors;
  warnings = of ./doubtful.nix ++ backup.warnings;
}
