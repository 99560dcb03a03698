# The program, without its tests: those want git, ssh and a Nix of their own.
{
  lib,
  installShellFiles,
  python3Packages,
  gitMinimal,
  nix,
  openssh,
}:
let
  inherit (builtins) head match readFile;
in
python3Packages.buildPythonApplication {
  pname = "pipelinegen";
  version = head (match ".*__version__ = \"([^\"]+)\".*" (readFile ../pipelinegen/__init__.py));
  pyproject = true;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../pyproject.toml
      ../README.md
      ../LICENSE
      (lib.fileset.fileFilter (
        file: file.hasExt "py" || file.hasExt "nix" || file.hasExt "json" || file.hasExt "sh" || file.name == "py.typed"
      ) ../pipelinegen)
    ];
  };

  build-system = [ python3Packages.setuptools ];

  nativeBuildInputs = [ installShellFiles ];

  dependencies = with python3Packages; [
    click
    gitpython
    httpcore
    httpx
    pydantic
    python-gitlab
    pyyaml
    sniffio
  ];

  # Found on PATH, so that a job's own versions win where it has some.
  makeWrapperArgs = [
    "--suffix"
    "PATH"
    ":"
    (lib.makeBinPath [
      gitMinimal
      nix
      openssh
    ])
  ];

  postInstall = ''
    installShellCompletion --cmd pipelinegen \
      --bash <(_PIPELINEGEN_COMPLETE=bash_source $out/bin/pipelinegen) \
      --zsh <(_PIPELINEGEN_COMPLETE=zsh_source $out/bin/pipelinegen) \
      --fish <(_PIPELINEGEN_COMPLETE=fish_source $out/bin/pipelinegen)

    PYTHONPATH=$out/${python3Packages.python.sitePackages}:$PYTHONPATH \
      ${python3Packages.python.interpreter} -m pipelinegen.man_page > pipelinegen.1
    installManPage pipelinegen.1
  '';

  pythonImportsCheck = [ "pipelinegen.cli" ];

  meta = {
    description = "Turns a Nix flake and a push into the right dynamic GitLab child pipeline";
    license = lib.licenses.mit;
    mainProgram = "pipelinegen";
    platforms = lib.platforms.linux;
  };
}
