"""pipelinegen turns a Nix flake and a push into the right dynamic GitLab child pipeline.

The way of the data, one folder per arrow:

    inventory/  what the flake offers
    changes/    what this change touches
    cache/      what the binary caches already hold
    plan/       what to do, and why
    pipeline/   the same in GitLab's words
    report/     the same for people
    run/        what the jobs of the child pipeline do
"""

__version__ = "0.1.0"
