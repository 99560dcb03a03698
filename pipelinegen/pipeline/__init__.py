"""The plan in GitLab's words: typed keywords, names, limits, verification, YAML."""
