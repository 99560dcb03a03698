# Where data is kept. The database and its backup use it, thus only db1 contains it.
{ make }:
make {
  name = "libdisk-1.0";
  text = ''
    data_file() { printf '%s/database' "''${FLEET_DATA:-/tmp}"; }
  '';
  script = ''
    mkdir -p $out/lib
    printf '%s' "$text" > $out/lib/disk.sh
  '';
}
