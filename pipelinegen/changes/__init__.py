"""What this change touches: the commit to compare with, the files, the outputs that differ."""
