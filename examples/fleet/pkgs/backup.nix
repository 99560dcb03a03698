# Copies the database's file, on db1.
{ program, libdisk }:
program {
  name = "backup";
  text = ''
    . ${libdisk}/lib/disk.sh
    cp "$(data_file)" "$(data_file).backup"
  '';
}
