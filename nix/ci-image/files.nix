# The files of the image that are no programs: { PATH = text; }, with paths from the image's root.
{
  lib,
  nixConf,
  knownHosts ? "",
}:
let
  inherit (lib) concatMapStrings concatMapStringsSep range;

  builders = range 1 32;
  builder = number: "nixbld${toString number}";
in
{
  # A name for root: ssh and git refuse to work for a user whom nobody knows.
  "etc/passwd" = ''
    root:x:0:0:root:/root:/bin/bash
    nobody:x:65534:65534:nobody:/var/empty:/bin/false
  ''
  + concatMapStrings (
    number: "${builder number}:x:${toString (30000 + number)}:30000:Nix build user:/var/empty:/bin/false\n"
  ) builders;

  # Nix takes as build users those who are listed as members here.
  "etc/group" = ''
    root:x:0:
    nobody:x:65534:
    nixbld:x:30000:${concatMapStringsSep "," builder builders}
  '';

  # /etc/hosts before DNS: runners write the names of services there.
  "etc/nsswitch.conf" = ''
    passwd: files
    group: files
    hosts: files dns
  '';

  # GitLab's helper clones as another user than the one that the job runs as.
  "etc/gitconfig" = ''
    [safe]
    	directory = *
  '';

  "etc/nix/nix.conf" = nixConf;
  "etc/ssh/ssh_known_hosts" = knownHosts;
}
