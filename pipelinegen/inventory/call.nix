# Calls the outputs of a flake as Nix itself would, from what `nix flake metadata` said about it.
#
# Nix offers no way to evaluate a whole dirty flake purely by an expression, so this does: it resolves the
# inputs through the nodes of the lock file and gives the flake the `self` that this version of Nix gives.
{
  # Lock node name -> fetched tree. The root's own metadata is in `rootInfo`, only its `outPath` counts here.
  trees,
  # The lock file as an attribute set.
  locks,
  # What `self` says of the source: rev, dirtyRev, lastModified, narHash, ...
  rootInfo,
  # Folder of flake.nix in the source tree, "" for the top.
  rootFolder,
  # Names of relative path inputs that the lock file on disk does not know -> their folder in the root's tree.
  relocated,
  # What is done when the value of an attribute of `rootInfo` is used: name -> value -> value.
  watch ? _: value: value,
}:
let
  inherit (builtins) compareVersions foldl' isFunction isList mapAttrs nixVersion substring;

  since = version: compareVersions nixVersion version >= 0;

  # An input is a node's name, or the path of inputs (from the root) that it follows.
  resolve = input: if isList input then follow input else input;
  follow = foldl' (name: input: resolve locks.nodes.${name}.inputs.${input}) locks.root;

  below = path: folder: if folder == "" then path else path + "/" + folder;

  isRelative =
    node: node ? parent && node.locked.type or "" == "path" && substring 0 1 node.locked.path != "/";

  # Where a node's source and its flake.nix are.
  locate =
    name: node:
    let
      parent = located.${follow node.parent};
      beside = parent.outPath + "/" + node.locked.path;
      tree = trees.${name}.sourceInfo or trees.${name};
    in
    if name == locks.root then
      rec {
        sourceInfo = mapAttrs watch rootInfo // { inherit (trees.${name}) outPath; };
        outPath = below sourceInfo.outPath rootFolder;
      }
    else if relocated ? ${name} then
      rec {
        sourceInfo = { inherit (trees.${locks.root}) outPath; };
        outPath = below sourceInfo.outPath relocated.${name};
      }
    else if isRelative node then
      {
        # Up to 2.29 such an input's source info named its own folder, since then it names the whole tree.
        sourceInfo = parent.sourceInfo // (if since "2.30" then { } else { outPath = beside; });
        outPath = beside;
      }
    else
      {
        sourceInfo = tree;
        outPath = below tree.outPath (node.locked.dir or "");
      };

  located = mapAttrs locate locks.nodes;

  call =
    name: node:
    let
      inherit (located.${name}) sourceInfo outPath;
      flake = import (outPath + "/flake.nix");
      inputs = mapAttrs (_: input: called.${resolve input}) (node.inputs or { });
      outputs = flake.outputs (inputs // { inherit self; });
      self =
        outputs
        // sourceInfo
        // { inherit inputs outputs sourceInfo; }
        // (if since "2.14" then { inherit outPath; } else { })
        // (if since "2.12" then { _type = "flake"; } else { });
    in
    if node.flake or true then
      assert isFunction flake.outputs;
      self
    else if since "2.30" then
      sourceInfo // { inherit sourceInfo outPath; }
    else
      sourceInfo;

  called = mapAttrs call locks.nodes;
in
called.${locks.root}.outputs
