# Who may log in: the deploy key, and nobody by password.
{ lib, settings, ... }:
{
  services.openssh = {
    enable = true;
    openFirewall = !settings.loginOnlyInTailnet;
    settings = {
      PasswordAuthentication = false;
      KbdInteractiveAuthentication = false;
      PermitRootLogin = "prohibit-password";
    };
  };
  services.tailscale.enable = true;
  networking.firewall.interfaces.tailscale0.allowedTCPPorts = [ 22 ];

  users.users.root.openssh.authorizedKeys.keys = settings.loginKeys;
  warnings = lib.optional (settings.loginKeys == [ ]) "settings.nix: nobody can log in, since loginKeys is empty";
}
