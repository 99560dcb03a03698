# web2: the website once more, and the API.
{ packages }:
{
  packages = [
    packages.website
    packages.api
  ];
  services.website.program = "${packages.website}/bin/website";
  services.api.program = "${packages.api}/bin/api";
  motd = "web2 of the fleet";
}
