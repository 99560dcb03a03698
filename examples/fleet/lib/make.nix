# One derivation from a shell script: the only place that calls `derivation` for packages.
#
#   make { name; script; outputs ? [ "out" ]; meta ? { }; …more environment variables for the script }
#
# The script runs with /bin/sh and the machine's basic tools. It must write each of its outputs ($out, …)
# and nothing that differs between two runs: no date, no host name, no random number.
{ system }:
{
  name,
  script,
  outputs ? [ "out" ],
  meta ? { },
  ...
}@arguments:
derivation (
  removeAttrs arguments [
    "script"
    "meta"
  ]
  // {
    inherit name outputs system;
    builder = "/bin/sh";
    args = [
      "-euc"
      script
    ];
    # Debian and others have the tools in both folders, some only in one.
    PATH = "/bin:/usr/bin";
  }
)
// {
  inherit meta;
}
