"""Snapshots of whole child pipelines, one YAML file per situation."""
