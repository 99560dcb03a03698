"""Pure views of plans, pipelines and settings, for people."""
