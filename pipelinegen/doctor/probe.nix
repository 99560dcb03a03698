# A build that looks for what it must not see: other processes, a file of the machine, and a word in the environment
# of any process. Every sandbox of Nix has processes of its own, and the first of them is the builder: a build that is
# another is in none, also where it finds neither file nor word, because it is done elsewhere (by a daemon outside of
# this container) or may not look there.
# `left` and `right` together are the word, so that this build's own environment does not hold it.
{
  left,
  right,
  canary,
}:
derivation {
  name = "pipelinegen-doctor";
  system = builtins.currentSystem;
  builder = "/bin/sh";
  inherit left right canary;
  args = [
    "-c"
    ''
      seen=
      if [ "$$" != 1 ]; then seen=processes; fi
      if [ -e "$canary" ]; then seen="$seen file"; fi
      for one in /proc/[0-9]*/environ; do
        while IFS= read -r line || [ -n "$line" ]; do
          case "$line" in
            *"$left$right"*)
              seen="$seen environment"
              break 2
              ;;
          esac
        done 2>/dev/null <"$one" || :
      done
      echo "seen $seen" >"$out"
    ''
  ];
}
