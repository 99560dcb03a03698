# web1: the public website, and the operators' command.
{ packages }:
{
  packages = [
    packages.website
    packages.cli
  ];
  services.website.program = "${packages.website}/bin/website";
  motd = "web1 of the fleet";
}
