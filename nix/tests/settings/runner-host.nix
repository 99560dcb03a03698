# A machine with a runner for protected refs and one for all others.
{
  networking.hostName = "runner";

  services.pipelinegen.runner-host = {
    enable = true;
    runners = {
      main = {
        refs = "protected";
        authenticationTokenConfigFile = "/run/secrets/runner-main";
        image = "registry.example.org/group/pipelinegen-ci:1";
      };
      others = {
        refs = "unprotected";
        authenticationTokenConfigFile = "/run/secrets/runner-others";
        image = "registry.example.org/group/pipelinegen-ci:1";
      };
    };
    kvm = {
      enable = true;
      vendor = "amd";
    };
  };
}
