"""Whether a machine, a runner or an image is ready: facts that are read, and what they mean.

What reads the world is in `read_*`, what judges is in `judge_*` and pure; `examine` puts them in order.
"""
