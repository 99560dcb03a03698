# How an Attic server cuts NARs into chunks, in bytes. Changing it later costs deduplication: old chunks match no more.
let
  KiB = 1024;
  MiB = 1024 * KiB;
in
{
  # Attic's own: the best deduplication, on a disk.
  default = {
    nar-size-threshold = 64 * KiB;
    min-size = 16 * KiB;
    avg-size = 64 * KiB;
    max-size = 256 * KiB;
  };

  # For S3 and its like. A chunk is one request there: 1 GiB in chunks of 64 KiB is 16,000 of them, about 6 MiB/s
  # with ten at once of 100 ms each; in chunks of 1 MiB it is 1,000.
  object-storage = {
    nar-size-threshold = 1 * MiB;
    min-size = 256 * KiB;
    avg-size = 1 * MiB;
    max-size = 4 * MiB;
  };
}
