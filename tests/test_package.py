"""What a release is made of: its metadata agree, its workflow runs what it may, and the wheel is the checkout."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
import yaml
from distributions import problems
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from places import ROOT

import hf_mner_aug

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = ["3.11", "3.12", "3.13"]


def read_yaml(path):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def workflow():
    return read_yaml(".github/workflows/ci.yml")


# ---------------------------------------------------------------- wheel


def test_a_wheel_holds_the_files_of_the_next_commit_and_no_other():
    tracked = ["cards/repo.md", "hf_mner_aug/draw.py", "hf_mner_aug/py.typed", "tests/test_draw.py"]
    wheel = ["hf_mner_aug/card_templates/repo.md", "hf_mner_aug/draw.py", "hf_mner_aug/py.typed"]
    assert problems([*wheel, "hf_mner_aug-0.1.0.dist-info/METADATA"], tracked) == []
    assert problems(wheel[1:], tracked) == ["hf_mner_aug/card_templates/repo.md is not in the wheel"]
    assert problems([*wheel, "hf_mner_aug/tweets.json", "tests/test_draw.py"], tracked) == [
        "hf_mner_aug/tweets.json is in the wheel and git does not know it: commit or delete it",
        "tests/test_draw.py is in the wheel and git does not know it: commit or delete it",
    ]


def test_type_checkers_are_told_that_the_package_has_types():
    assert (ROOT / "hf_mner_aug" / "py.typed").is_file()
    assert "Typing :: Typed" in PROJECT["classifiers"]


# ---------------------------------------------------------------- metadata


def test_the_citation_is_of_this_version_and_project():
    cited = read_yaml("CITATION.cff")
    assert cited["version"] == hf_mner_aug.__version__
    assert cited["license"] == PROJECT["license"]
    assert cited["authors"] == PROJECT["authors"]
    assert cited["keywords"] == PROJECT["keywords"]
    assert cited["repository-code"] == PROJECT["urls"]["Repository"]
    assert cited["title"].lower() == f"hf_mner_aug: {PROJECT['description']}".lower()


def test_urls_lead_into_one_repository():
    repository = PROJECT["urls"]["Repository"]
    assert re.fullmatch(r"https://github\.com/[\w-]+/[\w-]+", repository)
    for url in PROJECT["urls"].values():
        assert url.startswith(repository)
        path = re.fullmatch(r"(?:/(?:tree|blob)/main/(.+)|/issues)?", url.removeprefix(repository))
        assert path, url
        assert path[1] is None or (ROOT / path[1]).exists(), url


def test_links_of_the_readme_lead_into_the_repository_where_an_index_shows_it(monkeypatch):
    pytest.importorskip("hatchling", reason="the build tools are not installed")
    monkeypatch.syspath_prepend(str(ROOT))
    from hatch_build import with_full_links

    text = "![a\nb](docs/a.png) [c](docs/c.md#d) [e](#e) [f](https://example.org/f) x[1] (y)"
    assert with_full_links(text, "https://github.com/o/r", "1.2") == (
        "![a\nb](https://github.com/o/r/raw/v1.2/docs/a.png) [c](https://github.com/o/r/blob/v1.2/docs/c.md#d) "
        "[e](#e) [f](https://example.org/f) x[1] (y)"
    )
    shown = with_full_links((ROOT / "README.md").read_text(encoding="utf-8"), "https://github.com/o/r", "1.2")
    assert set(re.findall(r"\]\(([^)]{4})", shown)) == {"http"}


def test_the_pythons_named_are_those_that_are_checked(workflow):
    named = [name.rpartition(" ")[2] for name in PROJECT["classifiers"] if "Python :: 3." in name]
    assert named == PYTHONS
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    for job in ("check", "dist"):
        assert workflow["jobs"][job]["strategy"]["matrix"]["python"] == PYTHONS


def test_the_changelog_tells_of_this_version_below_what_is_unreleased():
    headings = re.findall(r"^## (.*)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert re.fullmatch(rf"{re.escape(hf_mner_aug.__version__)} \(\d{{4}}-\d\d-\d\d\)", headings[1])


def test_pre_commit_has_the_ruff_of_the_lock():
    (repo,) = read_yaml(".pre-commit-config.yaml")["repos"]
    (locked,) = re.findall(r"^ruff==(\S+)", (ROOT / "locks" / "dev.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert repo["rev"] == f"v{locked}"
    assert [hook["id"] for hook in repo["hooks"]] == ["ruff-check", "ruff-format"]


# ---------------------------------------------------------------- imports


def imported(source):
    """Return the packages that a module imports anywhere in it, by a statement or by ``need``."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module)
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", "") == "need"
            and isinstance(node.args[0], ast.Constant)
        ):
            names.add(node.args[0].value)
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"hf_mner_aug"}


def undeclared(modules, declared):
    """Return the imported packages that are of no declared distribution."""
    of = packages_distributions()
    return sorted(
        name for name in modules if not {canonicalize_name(one) for one in of.get(name, [name])} & set(declared)
    )


def test_what_the_package_imports_is_declared():
    extras = PROJECT["optional-dependencies"]
    groups = [PROJECT["dependencies"], *extras.values()]
    declared = {canonicalize_name(Requirement(line).name) for group in groups for line in group}
    modules = {name for file in (ROOT / "hf_mner_aug").rglob("*.py") for name in imported(file.read_text("utf-8"))}
    assert len(modules) > 30
    assert undeclared(modules, declared) == []


def test_an_undeclared_import_is_found():
    source = (
        'import yaml.nodes, os\nfrom . import a\ndef f():\n    from PIL import Image\n    need("torch.nn", extra="x")'
    )
    assert imported(source) == {"yaml", "PIL", "torch"}
    assert undeclared(imported(source), {"pyyaml"}) == ["PIL", "torch"]


# ---------------------------------------------------------------- workflow


def test_every_action_is_pinned_to_a_commit_and_names_its_version():
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    uses = re.findall(r"uses: (.*)", text)
    assert len(uses) > 4
    for use in uses:
        assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use), use


def test_a_job_may_read_the_code_or_publish_and_never_both(workflow):
    assert workflow["permissions"] == {}
    jobs = dict(workflow["jobs"])
    publish = jobs.pop("publish")
    assert all(job["permissions"] == {"contents": "read"} for job in jobs.values())
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["if"] == "github.event_name == 'push' && github.ref_type == 'tag'"
    assert set(publish["needs"]) == set(jobs)
    assert all("run" not in step and "checkout" not in step["uses"] for step in publish["steps"])


def test_checkouts_leave_no_credentials_and_commands_take_no_text_of_the_event(workflow):
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")
            if "checkout" in step.get("uses", ""):
                assert step["with"] == {"persist-credentials": False}


def test_the_workflow_runs_targets_that_exist(workflow):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    run = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    assert {line.split()[1] for line in run if line.startswith("make ")} == {"check", "dist"} <= targets


@pytest.mark.parametrize(
    ("tag", "repository", "changelog", "said"),
    [
        ("v0.1.0", "hf-mner-aug/hf_mner_aug", "## 0.1.0 (2026-01-01)\n", None),
        ("v0.1.1", "hf-mner-aug/hf_mner_aug", "## 0.1.0 (2026-01-01)\n", "tag v0.1.1, but built was"),
        ("v0.1.0", "hf-mner-aug/hf_mner_aug", "## 0.1.0rc1 (2026-01-01)\n", "CHANGELOG.md lacks '## 0.1.0 (DATE)'"),
        ("v0.1.0", "hf-mner-aug/hf_mner_aug", "## 0.1.0 (unreleased)\n", "CHANGELOG.md lacks '## 0.1.0 (DATE)'"),
        (
            "v0.1.0",
            "somebody/fork",
            "## 0.1.0 (2026-01-01)\n",
            "pyproject.toml's URLs are not https://github.com/somebody/fork",
        ),
    ],
)
def test_a_tag_is_published_only_if_it_is_the_version(workflow, tmp_path, tag, repository, changelog, said):
    (step,) = [step for step in workflow["jobs"]["dist"]["steps"] if "tag" in step.get("if", "")]
    (tmp_path / "CHANGELOG.md").write_text(changelog)
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "hf_mner_aug-0.1.0-py3-none-any.whl").touch()
    environment = {"PATH": "/usr/bin:/bin", "GITHUB_REF_NAME": tag, "GITHUB_REPOSITORY": repository}
    ended = subprocess.run(
        ["bash", "-e", "-c", step["run"]], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (ended.returncode == 0) is (said is None)
    assert (said or "") in ended.stdout


@pytest.mark.parametrize("name", ["bug", "method"])
def test_an_issue_form_asks_questions_with_names_of_their_own(name):
    form = read_yaml(f".github/ISSUE_TEMPLATE/{name}.yml")
    asked = [question["id"] for question in form["body"] if question["type"] != "markdown"]
    assert form["name"]
    assert form["description"]
    assert len(set(asked)) == len(asked) > 1


# ---------------------------------------------------------------- the first commands


@pytest.mark.parametrize("command", [["-m", "hf_mner_aug"], ["-c", "from hf_mner_aug.cli import main; main()"]])
def test_the_version_is_told(command):
    ended = subprocess.run([sys.executable, *command, "--version"], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"hf-mner-aug {hf_mner_aug.__version__}\n", "")
