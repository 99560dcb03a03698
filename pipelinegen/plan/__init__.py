"""What to do and why: rules, decisions per stage, units of work."""
