# The image's scripts as programs, each with what it starts.
#
#   image         the program that writes the image to its stdout
#   registration  file with the image's store paths, as `nix-store --load-db` reads it
{
  coreutils,
  gawk,
  gnused,
  image,
  jq,
  registration,
  skopeo,
  writeShellApplication,
}:
let
  inherit (builtins) readFile;

  size = writeShellApplication {
    name = "ci-image-size";
    runtimeInputs = [
      coreutils
      gawk
      gnused
      jq
    ];
    runtimeEnv = {
      PIPELINEGEN_IMAGE_BUDGET_FILE = "${./budget}";
      PIPELINEGEN_IMAGE_REGISTRATION = registration;
    };
    text = readFile ./size.sh;
  };

  publish = writeShellApplication {
    name = "publish-ci-image";
    runtimeInputs = [
      coreutils
      jq
      skopeo
    ];
    runtimeEnv = {
      PIPELINEGEN_IMAGE_STREAM = "${image}";
      PIPELINEGEN_IMAGE_SIZE = "${size}/bin/ci-image-size";
    };
    text = readFile ./publish.sh;
  };

  # Without inputs: it shows that the image's own programs are enough. It is in the image, so it must not name it.
  smokeTest = writeShellApplication {
    name = "smoke-test-ci-image";
    text = readFile ./smoke-test.sh;
  };
in
{
  inherit publish size smokeTest;
}
