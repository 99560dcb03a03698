"""Small jobs are dissolved where building again is cheaper than handing over. Pure.

What a small job builds is then built by each job that uses it. That is safe: whatever would fail for it,
needs it anyway.
"""

from __future__ import annotations

from collections.abc import Callable

from pipelinegen.plan.packing.jobs import Jobs

SHARE = 0.5
"""Of a job's fixed cost: what repeating may cost at most, so that it is a gain even when estimates are off."""


def repeat_cheap(jobs: Jobs, overhead: float, is_cheap: Callable[[int], bool], targets: set[int]) -> Jobs:
    """Dissolve jobs into those that use them.

    Args:
        overhead: seconds that a job costs besides its builds.
        is_cheap: whether a derivation's price is known well enough to pay it several times.
        targets: derivations that people asked for; their jobs stay.
    """
    graph = jobs.graph
    needs = jobs.needs()
    users: dict[int, set[int]] = {job: set() for job in jobs.members}
    for job, needed in needs.items():
        for other in needed:
            users[other].add(job)
    members = dict(jobs.members)
    # Users first: what is left of a job's users is known when it is looked at.
    for job in reversed(jobs.dependencies_first(needs)):
        nodes = members[job]
        if not users[job] or any(node in targets or not is_cheap(node) for node in nodes):
            continue
        seconds = sum(graph.seconds[node] for node in nodes)
        pool = graph.pool(nodes[0])
        if seconds * max(len(users[job]) - 1, 1) > SHARE * overhead:
            continue
        if any(graph.pool(members[user][-1]) != pool for user in users[job]):
            continue
        for user in users[job]:
            members[user] = tuple(sorted({*members[user], *nodes}))
        for other in needs[job]:
            users[other] = users[other] - {job} | users[job]
            for user in users[job]:
                needs[user] = needs[user] - {job} | {other}
        del members[job]
    return Jobs(graph, members.values())
