# Every library and package. A file gets what its own arguments name, so its first lines say what it uses.
{ system }:
let
  make = import ../lib/make.nix { inherit system; };
  program = import ../lib/program.nix { inherit make; };
  call = file: import file (builtins.intersectAttrs (builtins.functionArgs (import file)) all);

  all = {
    inherit make program;

    # Libraries that are no outputs of the flake.
    libtext = call ./libtext.nix;
    libdisk = call ./libdisk.nix;
    # Needed to build the documentation only: in nobody's closure.
    render = call ./render.nix;
    # A library that is an output as well.
    libhttp = call ./libhttp.nix;

    api = call ./api.nix;
    backup = call ./backup.nix;
    cli = call ./cli.nix;
    database = call ./database.nix;
    format = call ./format.nix;
    hello = call ./hello.nix;
    website = call ./website.nix;
  };
in
all
