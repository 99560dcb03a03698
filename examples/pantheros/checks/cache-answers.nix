# The cache as the server has it, on a machine of its own: disk instead of bucket, a certificate of its own, and
# no 1Password. Asked for what clients ask. Needs KVM.
{ attic-server, settings }:
{
  name = "cache-answers";

  nodes.server =
    { pkgs, ... }:
    {
      imports = [ attic-server ];

      services.pipelinegen.attic-server = {
        enable = true;
        inherit (settings) domain;
        storage.type = "local";
        secrets.tokenSecretFile = "/var/lib/token-secret";
        proxy.extraConfig = "tls internal";
        # It would not believe that certificate.
        provision.enable = false;
        backup.drill.enable = false;
      };

      networking.hosts."127.0.0.1" = [ settings.domain ];

      systemd.services.token-secret = {
        requiredBy = [ "attic-environment.service" ];
        before = [ "attic-environment.service" ];
        serviceConfig.Type = "oneshot";
        script = "umask 077; ${pkgs.openssl}/bin/openssl genrsa -traditional 4096 > /var/lib/token-secret";
      };
    };

  testScript = ''
    server.wait_for_unit("atticd.service")
    server.wait_for_unit("caddy.service")
    server.wait_until_succeeds("curl --fail --silent --insecure https://${settings.domain}/ | grep -i attic")

    with subtest("other names are not answered"):
        server.fail("curl --fail --silent http://127.0.0.1:8080/")
        server.succeed("curl --fail --silent --header 'Host: ${settings.domain}' http://127.0.0.1:8080/")

    with subtest("the database can be dumped"):
        server.succeed("systemctl start postgresqlBackup-atticd.service")
  '';
}
