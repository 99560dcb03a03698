# Systems that the pre-flight looks at more closely than at others: with a kernel, and with what NixOS writes
# into a system to say that no other may be switched to while it runs.
#
#   fleet   folder of the example fleet
#   name    of the machine
{ fleet, name }:
let
  make = import (fleet + "/lib/make.nix") { system = "x86_64-linux"; };
  system =
    name: motd:
    import (fleet + "/lib/system.nix") {
      system = "x86_64-linux";
      inherit name;
      host = { inherit motd; };
    };
  # The same system with more files.
  with-files =
    lines: machine:
    derivation (machine.drvAttrs // { args = [ "-euc" "${builtins.elemAt machine.drvAttrs.args 1}\n${lines}" ]; });
  linux =
    version:
    make {
      name = "linux-${version}";
      script = "mkdir $out; head -c 2000000 /dev/zero > $out/bzImage; echo initrd > $out/initrd";
    };
  booting =
    version: dbus:
    with-files ''
      ln -s ${linux version}/bzImage $out/kernel
      ln -s ${linux version}/initrd $out/initrd
      printf '%s\n' '{"dbus": "${dbus}"}' > $out/switch-inhibitors
    '' (system name "Linux ${version}");
in
{
  old = booting "6.6.1" "dbus";
  new = booting "6.6.2" "broker";
  other = system "web2" "made for another machine";
  foreign = with-files "rm $out/system; printf '%s' aarch64-linux > $out/system" (system name "another processor");
}
