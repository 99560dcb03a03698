"""Fewer jobs than there are sets of targets, where the server allows no more. Pure.

Only then are derivations of different targets put into one job, and a failure of one may hold up what only
another needs. Jobs that are equally far from the start are joined: no way leads from one such job to another,
so nothing waits in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from pipelinegen.plan.packing.jobs import Jobs


def squeeze(jobs: Jobs, limit: int, kind_of: Callable[[Sequence[int]], Hashable]) -> Jobs:
    """At most about `limit` jobs, if need be.

    Args:
        limit: jobs. Not reached where more levels, runners and kinds follow each other than that.
        kind_of: what a job is (a test, a build), by what it builds; only jobs of one kind are joined.
    """
    if len(jobs.members) <= limit:
        return jobs
    needs = jobs.needs()
    level: dict[int, int] = {}
    for job in jobs.dependencies_first(needs):
        level[job] = 1 + max((level[other] for other in needs[job]), default=-1)
    buckets: dict[tuple[int, int, Hashable], list[int]] = {}
    for job in sorted(jobs.members, key=lambda job: (_targets(jobs, job), job)):
        buckets.setdefault((level[job], jobs.pool(job), kind_of(jobs.members[job])), []).append(job)
    groups = []
    for bucket in buckets.values():
        share = max(limit * len(bucket) // len(jobs.members), 1)
        parts = _even_parts(jobs, bucket, share)
        groups += [sorted({node for job in part for node in jobs.members[job]}) for part in parts]
    return Jobs(jobs.graph, groups)


def _targets(jobs: Jobs, job: int) -> tuple[int, int]:
    """Jobs of neighbouring targets stand together: the first target, and how many."""
    bits = jobs.graph.class_targets[jobs.graph.classes[jobs.members[job][-1]]]
    return (bits & -bits).bit_length(), bits.bit_count()


def _even_parts(jobs: Jobs, bucket: list[int], count: int) -> list[list[int]]:
    """The bucket's jobs, in their order, in `count` parts of about the same work."""
    weights = [sum(jobs.graph.seconds[node] for node in jobs.members[job]) + 1 for job in bucket]
    total = sum(weights)
    parts: list[list[int]] = [[] for _ in range(count)]
    done = 0.0
    for job, weight in zip(bucket, weights, strict=True):
        parts[min(int(count * (done + weight / 2) / total), count - 1)].append(job)
        done += weight
    return [part for part in parts if part]
