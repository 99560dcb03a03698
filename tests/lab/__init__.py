"""The lab: a real pipeline runner, a Nix store per job, and real machines with systemd.

    machine.py  what this computer offers, and why something cannot be tested on it
    store.py    a `/nix` of its own for each job, and who built what
    runner.py   runs a child pipeline as GitLab's runners would
    host.py     a machine with systemd, sshd and Nix, in the state of a freshly installed NixOS
    repo.py     the example fleet in a git repository, its clones and changes
    graphs.py, launch.py, executor.py, truth.py, build_once.py
                flakes made to order, and a quick way to execute the jobs of their pipelines and count builds

`ci/setup-lab` installs what is needed; a part that is missing makes its tests skip with the reason.
"""
