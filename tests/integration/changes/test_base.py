"""Each row of the decision table with a real server, a runner's clone, and the variables GitLab sets.

A base is right when the files that differ from it are exactly those of the change; each test says which.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelinegen.changes.base import ROWS, find_base
from pipelinegen.changes.model import Base
from pipelinegen.changes.read import Repository
from pipelinegen.ci_env import CiEnv
from pipelinegen.errors import CredentialsError, GitError
from tests.gitrepo import commit, git, make_repo, make_server, push, stage
from tests.integration.changes.conftest import Clone, Project

pytestmark = pytest.mark.processes

ZEROS = "0" * 40
MISSING = "1" * 40


def gitlab(project: Project, **variables: str) -> CiEnv:
    """The variables of a pipeline in the project."""
    fixed = {
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_DEFAULT_BRANCH": "main",
        "CI_PROJECT_URL": f"file://{project.server}",
        "CI_COMMIT_BEFORE_SHA": ZEROS,
    }
    return CiEnv.from_environment(fixed | variables)


def push_env(project: Project, branch: str, before: str = ZEROS, **variables: str) -> CiEnv:
    return gitlab(
        project,
        **{"CI_PIPELINE_SOURCE": "push", "CI_COMMIT_BRANCH": branch, "CI_COMMIT_BEFORE_SHA": before} | variables,
    )


def request_env(project: Project, event: str, **variables: str) -> CiEnv:
    fixed = {
        "CI_PIPELINE_SOURCE": "merge_request_event",
        "CI_MERGE_REQUEST_ID": "101",
        "CI_MERGE_REQUEST_IID": "1",
        "CI_MERGE_REQUEST_EVENT_TYPE": event,
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": project.fork_point,
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        "CI_MERGE_REQUEST_PROJECT_URL": f"file://{project.server}",
        "CI_MERGE_REQUEST_SOURCE_PROJECT_URL": f"file://{project.server}",
        "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": "",
        "CI_MERGE_REQUEST_TARGET_BRANCH_SHA": "",
    }
    return gitlab(project, **fixed | variables)


def merged_env(project: Project, event: str, target: str, **variables: str) -> CiEnv:
    shas = {
        "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": project.feature[-1],
        "CI_MERGE_REQUEST_TARGET_BRANCH_SHA": target,
    }
    return request_env(project, event, **shas | variables)


def fork_env(project: Project, **variables: str) -> CiEnv:
    """A merge request from the fork, run in the fork."""
    urls = {
        "CI_PROJECT_URL": f"file://{project.fork}",
        "CI_MERGE_REQUEST_SOURCE_PROJECT_URL": f"file://{project.fork}",
    }
    return request_env(project, "detached", **urls | variables)


def files(repo: Repository, base: Base) -> tuple[str, ...] | None:
    return repo.changed_files(base, repo.head())


class Api:
    """GitLab's answer to the question for the last passed pipeline."""

    def __init__(self, answer: str | Exception | None) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def last_passed(self, branch: str) -> str | None:
        self.asked.append(branch)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class TestNamed:
    def test_a_named_commit_is_the_base_in_every_situation(self, project: Project, clone: Clone) -> None:
        repo = clone(project.merged_result)
        env = merged_env(project, "merged_result", project.main[-1])
        base = find_base(repo, env, explicit=project.main[3])
        assert (base.rev, base.rule, base.passed) == (project.main[3], "named-commit", None)
        assert files(repo, base) == tuple(sorted(project.feature_files + project.main_files(4)))

    def test_the_variable_names_it_as_well(self, project: Project, clone: Clone) -> None:
        env = push_env(project, "main", project.main[-2], PIPELINEGEN_BASE=project.main[30])
        assert find_base(clone(project.main[-1]), env).rev == project.main[30]

    def test_the_flag_beats_the_variable(self, project: Project, clone: Clone) -> None:
        env = push_env(project, "main", PIPELINEGEN_BASE=project.main[30])
        assert find_base(clone(project.main[-1]), env, explicit=project.main[31]).rev == project.main[31]

    @pytest.mark.parametrize("name", ["main", "refs/pipelines/1", "HEAD~2", "v1"])
    def test_any_name_that_git_or_the_server_knows_will_do(self, project: Project, clone: Clone, name: str) -> None:
        expected = {
            "main": project.main[-1],
            "v1": project.main[5],
            "HEAD~2": project.feature[-3],
            "refs/pipelines/1": project.feature[-1],
        }
        assert find_base(clone(project.feature[-1]), push_env(project, "feature"), explicit=name).rev == expected[name]

    @pytest.mark.parametrize("name", [MISSING, "no-such-branch", "--upload-pack=touch /tmp/x", "a b", "x:y", "-"])
    def test_one_that_does_not_exist_is_an_error_and_no_guess(self, project: Project, clone: Clone, name: str) -> None:
        with pytest.raises(GitError, match="there is no commit") as caught:
            find_base(clone(project.main[-1]), push_env(project, "main", project.main[-2]), explicit=name)
        assert caught.value.exit_code == 2
        assert caught.value.hint is not None


class TestMergeRequest:
    def test_merged_result_is_compared_with_what_it_was_merged_into(self, project: Project, clone: Clone) -> None:
        repo = clone(project.merged_result)
        base = find_base(repo, merged_env(project, "merged_result", project.main[-1]))
        assert (base.rev, base.rule) == (project.main[-1], "merged-result-target-sha")
        assert files(repo, base) == project.feature_files

    @pytest.mark.parametrize("depth", [1, 20])
    def test_merged_result_without_target_sha_reads_the_parent_from_the_commit(
        self, project: Project, clone: Clone, depth: int
    ) -> None:
        repo = clone(project.merged_result, depth=depth)
        base = find_base(repo, merged_env(project, "merged_result", ""))
        assert (base.rev, base.rule) == (project.main[-1], "merged-result-first-parent")
        assert "CI_MERGE_REQUEST_TARGET_BRANCH_SHA" in base.reason
        assert files(repo, base) == project.feature_files

    def test_merged_result_whose_target_sha_is_gone_reads_the_parent(self, project: Project, clone: Clone) -> None:
        base = find_base(clone(project.merged_result), merged_env(project, "merged_result", MISSING))
        assert (base.rev, base.rule) == (project.main[-1], "merged-result-first-parent")

    def test_merge_train_is_compared_with_the_train_before_it(self, project: Project, clone: Clone) -> None:
        repo = clone(project.train)
        base = find_base(repo, merged_env(project, "merge_train", project.train_car))
        assert (base.rev, base.rule) == (project.train_car, "merge-train-target-sha")
        assert files(repo, base) == project.feature_files

    def test_merge_train_without_target_sha_takes_the_first_parent(self, project: Project, clone: Clone) -> None:
        base = find_base(clone(project.train, depth=1), merged_env(project, "merge_train", ""))
        assert (base.rev, base.rule) == (project.train_car, "merge-train-first-parent")

    @pytest.mark.parametrize("known", [True, False], ids=["source known", "source not known"])
    def test_a_train_that_rebases_has_no_first_parent_to_trust(
        self, project: Project, clone: Clone, known: bool
    ) -> None:
        repo = clone(project.rebased)
        source = project.feature[-1] if known else ""
        base = find_base(repo, merged_env(project, "merge_train", "", CI_MERGE_REQUEST_SOURCE_BRANCH_SHA=source))
        assert (base.rev, base.rule) == (project.fork_point, "merge-train-diff-base")
        assert set(files(repo, base) or ()) > {"feature/0", "feature/1", "feature/2"}  # over-wide, never too little

    def test_a_merge_of_something_else_is_not_taken_for_the_result(self, project: Project, clone: Clone) -> None:
        env = merged_env(project, "merged_result", "", CI_MERGE_REQUEST_SOURCE_BRANCH_SHA=project.main[-1])
        assert find_base(clone(project.merged_result), env).rule == "merged-result-diff-base"

    def test_merged_result_with_nothing_to_go_by_is_full(self, project: Project, clone: Clone) -> None:
        env = merged_env(project, "merged_result", "", CI_MERGE_REQUEST_DIFF_BASE_SHA="")
        base = find_base(clone(project.rebased), env)
        assert (base.rev, base.empty, base.rule) == (None, False, "merged-result-full")
        assert "CI_MERGE_REQUEST_DIFF_BASE_SHA" in base.reason

    @pytest.mark.parametrize("event", ["detached", "", "some_future_event"])
    def test_detached_takes_the_base_of_the_diff(self, project: Project, clone: Clone, event: str) -> None:
        repo = clone(project.feature[-1])
        base = find_base(repo, request_env(project, event))
        assert (base.rev, base.rule) == (project.fork_point, "merge-request-diff-base")
        assert files(repo, base) == project.feature_files

    @pytest.mark.parametrize("diff_base", ["", MISSING])
    def test_detached_without_diff_base_finds_the_merge_base(
        self, project: Project, clone: Clone, diff_base: str
    ) -> None:
        repo = clone(project.feature[-1])
        base = find_base(repo, request_env(project, "detached", CI_MERGE_REQUEST_DIFF_BASE_SHA=diff_base))
        assert (base.rev, base.rule) == (project.fork_point, "merge-request-merge-base")
        assert files(repo, base) == project.feature_files

    def test_detached_is_full_when_the_target_is_gone(self, project: Project, clone: Clone) -> None:
        env = request_env(
            project, "detached", CI_MERGE_REQUEST_DIFF_BASE_SHA="", CI_MERGE_REQUEST_TARGET_BRANCH_NAME="gone"
        )
        base = find_base(clone(project.feature[-1]), env)
        assert (base.rev, base.rule) == (None, "merge-request-full")
        assert "couldn't find remote ref" in base.reason

    @pytest.mark.parametrize("branch", ["", "a b", "-x\n", "main:refs/heads/evil", "*", "..", "\x1b[31m"])
    def test_a_target_that_is_no_branch_name_is_full(self, project: Project, clone: Clone, branch: str) -> None:
        env = request_env(
            project, "detached", CI_MERGE_REQUEST_DIFF_BASE_SHA="", CI_MERGE_REQUEST_TARGET_BRANCH_NAME=branch
        )
        repo = clone(project.feature[-1])
        base = find_base(repo, env)
        assert base.rule == "merge-request-full"
        assert base.reason.isprintable()
        assert "evil" not in git(repo.top, "for-each-ref")

    @pytest.mark.parametrize("source", ["merge_request_event", "parent_pipeline"])
    def test_a_child_pipeline_of_a_request_answers_as_its_parent(
        self, project: Project, clone: Clone, source: str
    ) -> None:
        env = merged_env(project, "merged_result", project.main[-1], CI_PIPELINE_SOURCE=source)
        assert find_base(clone(project.merged_result), env).rule == "merged-result-target-sha"

    def test_an_unrelated_history_is_compared_with_the_empty_tree(self, project: Project, clone: Clone) -> None:
        repo = clone(project.unrelated)
        base = find_base(repo, request_env(project, "detached", CI_MERGE_REQUEST_DIFF_BASE_SHA=""))
        assert (base.rev, base.empty, base.rule) == (None, True, "merge-request-unrelated-history")
        assert files(repo, base) == ("unrelated/0", "unrelated/1")


class TestFork:
    def test_in_the_fork_the_base_of_the_diff_comes_from_the_fork(self, project: Project, clone: Clone) -> None:
        repo = clone(project.feature[-1], server=project.fork)
        base = find_base(repo, fork_env(project))
        assert (base.rev, base.rule) == (project.fork_point, "fork-merge-request-diff-base")
        assert files(repo, base) == project.feature_files

    def test_in_the_fork_the_target_comes_from_the_parent_project(self, project: Project, clone: Clone) -> None:
        repo = clone(project.feature[-1], server=project.fork)
        git(repo.top, "fetch", "--quiet", "origin", "+refs/heads/main:refs/remotes/origin/main")
        assert git(repo.top, "rev-parse", "origin/main") == project.main[2], "the fork's main must be stale here"
        base = find_base(repo, fork_env(project, CI_MERGE_REQUEST_DIFF_BASE_SHA=""))
        assert (base.rev, base.rule) == (project.fork_point, "fork-merge-request-merge-base")

    def test_the_parent_project_need_not_know_the_forks_commits(
        self, project: Project, clone: Clone, tmp_path: Path
    ) -> None:
        parent = make_server(tmp_path / "parent.git")
        push(project.work, parent, {"refs/heads/main": project.main[-1]})
        repo = clone(project.feature[-1], server=project.fork)
        env = fork_env(project, CI_MERGE_REQUEST_DIFF_BASE_SHA="", CI_MERGE_REQUEST_PROJECT_URL=f"file://{parent}")
        base = find_base(repo, env)
        assert (base.rev, base.rule) == (project.fork_point, "fork-merge-request-merge-base")

    @pytest.mark.parametrize(
        "url", ["file:///nowhere", "", "ext::sh -c false", "--upload-pack=false", "http://u:p@h/x"]
    )
    def test_in_the_fork_the_forks_own_branch_is_never_the_target(
        self, project: Project, clone: Clone, url: str
    ) -> None:
        repo = clone(project.feature[-1], server=project.fork)
        git(repo.top, "fetch", "--quiet", "origin", "+refs/heads/main:refs/remotes/origin/main")
        env = fork_env(project, CI_MERGE_REQUEST_DIFF_BASE_SHA="", CI_MERGE_REQUEST_PROJECT_URL=url)
        base = find_base(repo, env)
        assert (base.rev, base.rule) == (None, "fork-merge-request-full")

    @pytest.mark.parametrize("event", ["detached", "merged_result"])
    def test_a_forks_request_run_in_the_parent_is_as_any_other(
        self, project: Project, clone: Clone, event: str
    ) -> None:
        at = project.merged_result if event == "merged_result" else project.feature[-1]
        env = merged_env(project, event, project.main[-1], CI_MERGE_REQUEST_SOURCE_PROJECT_URL=f"file://{project.fork}")
        repo = clone(at)
        base = find_base(repo, env)
        assert base.rule == {"detached": "merge-request-diff-base", "merged_result": "merged-result-target-sha"}[event]
        assert files(repo, base) == project.feature_files


class TestDefaultBranch:
    def test_the_last_commit_that_passed_beats_the_one_before_the_push(self, project: Project, clone: Clone) -> None:
        repo = clone(project.main[-1], branch="main")
        api = Api(project.main[3])
        base = find_base(repo, push_env(project, "main", project.main[-2]), api=api)
        assert (base.rev, base.rule, base.passed) == (project.main[3], "default-branch-last-passed", True)
        assert api.asked == ["main"]
        assert files(repo, base) == project.main_files(4)

    @pytest.mark.parametrize(
        ("api", "said"),
        [
            (None, "without an API token"),
            (Api(None), "knows no pipeline of 'main' that passed"),
            (Api(CredentialsError("the token is not allowed to")), "the token is not allowed to"),
            (Api(MISSING), "not in the history of HEAD"),
        ],
        ids=["no token", "nothing passed yet", "token refused", "commit gone"],
    )
    def test_without_an_answer_the_commit_before_the_push_is_taken_and_this_is_said(
        self, project: Project, clone: Clone, api: Api | None, said: str
    ) -> None:
        repo = clone(project.main[-1])
        base = find_base(repo, push_env(project, "main", project.main[-4]), api=api)
        assert (base.rev, base.rule, base.passed) == (project.main[-4], "default-branch-before-push", None)
        assert said in base.reason
        assert files(repo, base) == project.main_files(32)

    def test_a_passed_commit_that_was_overwritten_is_not_taken(self, project: Project, clone: Clone) -> None:
        env = push_env(project, "main", project.main[-2])
        base = find_base(clone(project.main[-1]), env, api=Api(project.overwritten))
        assert base.rule == "default-branch-before-push"

    def test_a_push_of_more_commits_than_the_clone_has(self, project: Project, clone: Clone) -> None:
        repo = clone(project.main[-1], depth=2)
        base = find_base(repo, push_env(project, "main", project.main[4]))
        assert (base.rev, base.rule) == (project.main[4], "default-branch-before-push")
        assert files(repo, base) == project.main_files(5)

    def test_the_first_push_is_full(self, project: Project, clone: Clone) -> None:
        base = find_base(clone(project.main[-1]), push_env(project, "main"))
        assert (base.rev, base.empty, base.rule) == (None, False, "default-branch-full")

    def test_the_first_commit_is_compared_with_the_empty_tree(self, project: Project, clone: Clone) -> None:
        repo = clone(project.main[0])
        base = find_base(repo, push_env(project, "main"))
        assert (base.rev, base.empty, base.rule) == (None, True, "default-branch-root-commit")
        assert files(repo, base) == ("main/0",)

    def test_the_end_of_a_shallow_clone_is_not_taken_for_the_first_commit(self, project: Project, clone: Clone) -> None:
        base = find_base(clone(project.main[-1], depth=1), push_env(project, "main"))
        assert (base.empty, base.rule) == (False, "default-branch-full")

    @pytest.mark.parametrize("depth", [1, 20, None])
    @pytest.mark.parametrize("gone", [False, True], ids=["the server has it", "nobody has it"])
    def test_a_force_push_is_full_even_if_something_passed(
        self, project: Project, clone: Clone, depth: int | None, gone: bool
    ) -> None:
        env = push_env(project, "main", MISSING if gone else project.overwritten)
        base = find_base(clone(project.main[-1], depth=depth), env, api=Api(project.main[3]))
        assert (base.rev, base.rule) == (None, "force-push-full")

    def test_started_by_hand_it_is_full(self, project: Project, clone: Clone) -> None:
        env = push_env(project, "main", project.main[-2], CI_PIPELINE_SOURCE="web")
        base = find_base(clone(project.main[-1]), env, api=Api(project.main[-2]))
        assert (base.rev, base.rule) == (None, "requested-full")

    @pytest.mark.parametrize("source", ["api", "trigger", "chat", "pipeline", "", "some_future_source"])
    def test_started_by_another_program_it_is_full(self, project: Project, clone: Clone, source: str) -> None:
        env = push_env(project, "main", project.main[-2], CI_PIPELINE_SOURCE=source)
        assert find_base(clone(project.main[-1]), env).rule == "requested-full"

    def test_in_a_child_the_inherited_commit_before_the_push_counts(self, project: Project, clone: Clone) -> None:
        env = push_env(project, "main", project.main[-2], CI_PIPELINE_SOURCE="parent_pipeline")
        base = find_base(clone(project.main[-1]), env)
        assert (base.rev, base.rule) == (project.main[-2], "child-default-branch-before-push")

    def test_the_child_of_a_scheduled_pipeline_is_full(self, project: Project, clone: Clone) -> None:
        env = push_env(project, "main", CI_PIPELINE_SOURCE="parent_pipeline")
        base = find_base(clone(project.main[-1]), env, api=Api(project.main[-2]))
        assert (base.rev, base.rule) == (None, "child-default-branch-full")


class TestOtherBranch:
    def test_gitlabs_own_merge_base_is_taken(self, project: Project, clone: Clone) -> None:
        env = push_env(project, "feature", project.feature[-2], CI_COMMIT_DEFAULT_BRANCH_BASE_SHA=project.fork_point)
        repo = clone(project.feature[-1], branch="feature")
        base = find_base(repo, env)
        assert (base.rev, base.rule) == (project.fork_point, "branch-default-branch-base")
        assert files(repo, base) == project.feature_files

    @pytest.mark.parametrize("depth", [1, 20, None])
    @pytest.mark.parametrize("source", ["push", "web", "api", "trigger", "pipeline", "parent_pipeline"])
    def test_else_the_merge_base_is_found_however_shallow_the_clone(
        self, project: Project, clone: Clone, source: str, depth: int | None
    ) -> None:
        repo = clone(project.feature[-1], depth=depth, branch="feature")
        env = push_env(project, "feature", project.feature[-2], CI_PIPELINE_SOURCE=source)
        base = find_base(repo, env)
        assert (base.rev, base.rule) == (project.fork_point, "branch-merge-base")
        assert files(repo, base) == project.feature_files

    def test_a_new_branch_is_compared_in_the_same_way(self, project: Project, clone: Clone) -> None:
        base = find_base(clone(project.feature[-1]), push_env(project, "feature", ZEROS))
        assert (base.rev, base.rule) == (project.fork_point, "branch-merge-base")

    def test_after_a_force_push_the_commit_before_it_plays_no_part(self, project: Project, clone: Clone) -> None:
        base = find_base(clone(project.feature[-1]), push_env(project, "feature", project.overwritten))
        assert (base.rev, base.rule) == (project.fork_point, "branch-merge-base")

    def test_the_target_as_it_is_now_counts_not_as_an_earlier_job_saw_it(self, project: Project, clone: Clone) -> None:
        repo = clone(project.feature[-1], depth=None)
        git(repo.top, "update-ref", "refs/remotes/origin/main", project.main[2])
        assert find_base(repo, push_env(project, "feature")).rev == project.fork_point

    def test_an_old_view_of_the_default_branch_is_better_than_none(self, project: Project, clone: Clone) -> None:
        repo = clone(project.feature[-1], depth=None)
        git(repo.top, "update-ref", "refs/remotes/origin/main", project.main[2])
        git(repo.top, "remote", "set-url", "origin", "file:///nowhere")
        base = find_base(repo, push_env(project, "feature"))
        assert (base.rev, base.rule) == (project.main[2], "branch-merge-base")

    def test_without_a_default_branch_the_commit_before_the_push_is_taken(self, project: Project, clone: Clone) -> None:
        env = push_env(project, "feature", project.feature[20], CI_DEFAULT_BRANCH="gone")
        base = find_base(clone(project.feature[-1]), env)
        assert (base.rev, base.rule) == (project.feature[20], "branch-before-push")
        assert "'gone' cannot be fetched" in base.reason

    @pytest.mark.parametrize("before", [ZEROS, "overwritten", MISSING], ids=["new branch", "force-push", "gone"])
    def test_with_nothing_to_go_by_it_is_full(self, project: Project, clone: Clone, before: str) -> None:
        sha = project.overwritten if before == "overwritten" else before
        base = find_base(clone(project.feature[-1]), push_env(project, "feature", sha, CI_DEFAULT_BRANCH="gone"))
        assert (base.rev, base.empty, base.rule) == (None, False, "branch-full")

    def test_an_unrelated_branch_is_compared_with_the_empty_tree(self, project: Project, clone: Clone) -> None:
        repo = clone(project.unrelated, depth=1)
        base = find_base(repo, push_env(project, "unrelated"))
        assert (base.rev, base.empty, base.rule) == (None, True, "branch-unrelated-history")

    def test_history_that_cannot_be_fetched_is_not_taken_for_an_unrelated_one(
        self, project: Project, clone: Clone
    ) -> None:
        repo = clone(project.feature[-1])
        git(repo.top, "fetch", "--quiet", "--depth=1", "origin", "+refs/heads/main:refs/remotes/origin/main")
        git(repo.top, "remote", "set-url", "origin", "file:///nowhere")
        base = find_base(repo, push_env(project, "feature"))
        assert (base.rev, base.empty, base.rule) == (None, False, "branch-full")
        assert "within what could be fetched" in base.reason

    def test_with_the_server_away_a_shallow_clone_is_full_and_says_why(self, project: Project, clone: Clone) -> None:
        repo = clone(project.feature[-1])
        git(repo.top, "remote", "set-url", "origin", "file:///nowhere")
        base = find_base(repo, push_env(project, "feature", project.feature[2]))
        assert (base.rev, base.rule) == (None, "branch-full")
        assert "git fetch: fatal: '/nowhere' does not appear to be a git repository" in base.reason


class TestFullByNature:
    @pytest.mark.parametrize(
        ("variables", "rule"),
        [
            ({"CI_COMMIT_TAG": "v1", "CI_PIPELINE_SOURCE": "push"}, "tag-full"),
            ({"CI_COMMIT_TAG": "v1", "CI_PIPELINE_SOURCE": "parent_pipeline"}, "tag-full"),
            ({"CI_COMMIT_BRANCH": "main", "CI_PIPELINE_SOURCE": "schedule"}, "schedule-full"),
            ({"CI_COMMIT_BRANCH": "feature", "CI_PIPELINE_SOURCE": "schedule"}, "schedule-full"),
            ({"CI_PIPELINE_SOURCE": "push"}, "unknown-full"),
        ],
        ids=["tag", "child of a tag", "schedule", "schedule of a branch", "no branch named"],
    )
    def test_everything_counts_as_changed(
        self, project: Project, clone: Clone, variables: dict[str, str], rule: str
    ) -> None:
        repo = clone(project.main[-1])
        env = gitlab(project, **variables | {"CI_COMMIT_BEFORE_SHA": project.main[-2]})
        base = find_base(repo, env, api=Api(project.main[-2]))
        assert (base.rev, base.empty, base.rule) == (None, False, rule)
        assert files(repo, base) is None


class TestExternalPullRequest:
    def test_it_is_compared_with_where_it_left_its_target(self, project: Project, clone: Clone) -> None:
        repo = clone(project.feature[-1])
        env = push_env(
            project,
            "feature",
            CI_PIPELINE_SOURCE="external_pull_request_event",
            CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_SHA=project.main[-1],
        )
        base = find_base(repo, env)
        assert (base.rev, base.rule) == (project.fork_point, "external-pull-request-merge-base")
        assert files(repo, base) == project.feature_files

    @pytest.mark.parametrize("target", ["", MISSING])
    def test_without_its_target_it_is_full(self, project: Project, clone: Clone, target: str) -> None:
        env = push_env(
            project,
            "feature",
            CI_PIPELINE_SOURCE="external_pull_request_event",
            CI_EXTERNAL_PULL_REQUEST_TARGET_BRANCH_SHA=target,
        )
        assert find_base(clone(project.feature[-1]), env).rule == "external-pull-request-full"


class TestLocal:
    """Without CI, nothing is fetched; a repository with an unreachable server shows it."""

    @pytest.fixture
    def laptop(self, project: Project, tmp_path: Path) -> Path:
        folder = make_repo(tmp_path / "laptop")
        git(folder, "remote", "add", "origin", f"file://{project.server}")
        git(folder, "fetch", "--quiet", "origin")
        git(folder, "remote", "set-url", "origin", "file:///nowhere")
        git(folder, "checkout", "--quiet", "-b", "mine", project.feature[-1])
        return folder

    def test_the_base_is_where_head_left_the_upstream_branch(self, project: Project, laptop: Path) -> None:
        git(laptop, "branch", "main", project.main[2])  # an old local main
        repo = Repository.open(laptop)
        base = find_base(repo, CiEnv())
        assert (base.rev, base.rule) == (project.fork_point, "local-merge-base")
        assert files(repo, base) == project.feature_files

    def test_origin_head_tells_the_default_branch(self, project: Project, laptop: Path) -> None:
        git(laptop, "update-ref", "refs/remotes/origin/trunk", project.feature[10])
        git(laptop, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/trunk")
        assert find_base(Repository.open(laptop), CiEnv()).rev == project.feature[10]

    def test_uncommitted_files_belong_to_the_change(self, project: Project, laptop: Path) -> None:
        (laptop / "main/0").write_text("edited")
        stage(laptop, {"added": "x"})
        (laptop / "untracked").write_text("x")
        repo = Repository.open(laptop)
        assert repo.head().dirty
        found = files(repo, find_base(repo, CiEnv()))
        assert found == tuple(sorted((*project.feature_files, "main/0", "added")))

    @pytest.mark.parametrize("branch", ["main", "master"])
    def test_without_a_remote_the_local_default_branch_counts(self, tmp_path: Path, branch: str) -> None:
        folder = make_repo(tmp_path / "repo", branch=branch)
        first = commit(folder, {"a": "1"})
        git(folder, "checkout", "--quiet", "-b", "mine")
        commit(folder, {"b": "1"})
        repo = Repository.open(folder)
        base = find_base(repo, CiEnv())
        assert (base.rev, base.rule) == (first, "local-merge-base")
        assert files(repo, base) == ("b",)

    def test_without_any_default_branch_only_uncommitted_files_count(self, tmp_path: Path) -> None:
        folder = make_repo(tmp_path / "repo", branch="trunk")
        head = commit(folder, {"a": "1", "b": "1"})
        (folder / "a").write_text("2")
        repo = Repository.open(folder)
        base = find_base(repo, CiEnv())
        assert (base.rev, base.rule) == (head, "local-head")
        assert files(repo, base) == ("a",)

    def test_before_the_first_commit_everything_is_new(self, tmp_path: Path) -> None:
        folder = make_repo(tmp_path / "repo")
        stage(folder, {"flake.nix": "{ }"})
        repo = Repository.open(folder)
        base = find_base(repo, CiEnv())
        assert (base.rev, base.empty, base.rule) == (None, True, "no-commit-yet")
        assert files(repo, base) == ("flake.nix",)

    def test_a_named_commit_that_is_not_here_is_an_error_and_not_fetched(self, project: Project, clone: Clone) -> None:
        with pytest.raises(GitError, match="there is no commit"):
            find_base(clone(project.main[-1]), CiEnv(), explicit=project.main[3])


def test_every_row_has_a_name_of_its_own_and_something_to_say() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert all(row.questions or row.otherwise for row in ROWS)
