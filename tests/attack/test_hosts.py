"""A stranger's recipe names a host: nothing is sent there, least of all a key, before the user has said yes to it."""

import io
import json
import os
import pty
import stat
import subprocess
import sys
import threading
import time

import pytest
import yaml
from conftest import Terminal, draw_posts
from datasets import Dataset, DatasetDict
from endpoint_server import EndpointServer
from filelock import FileLock
from web_server import WebServer

from hf_mner_aug import GMDA, RMDA, MemoryHard, Recipe, augment, cli, verify
from hf_mner_aug.exceptions import Corrupt, EndpointError, HostNotAllowed, UsageError
from hf_mner_aug.methods import method_class
from hf_mner_aug.models.endpoint import KEY_ENV, Endpoint
from hf_mner_aug.models.search.fetching import is_public
from hf_mner_aug.publishing.folder import publish
from hf_mner_aug.runs.estimate import estimate
from hf_mner_aug.runs.ledger import preview, run
from hf_mner_aug.runs.recipe import recipe_for
from hf_mner_aug.runs.subset import resolve
from hf_mner_aug.untrusted import hosts
from hf_mner_aug.untrusted.hosts import VARIABLE, Host, is_allowed, origin_of, remembered, require_allowed

KEY = "sk-victims-own-key-4711"
SEARCH_KEY = "serper-victims-key-4712"
ANSWER = "B-PER Ann met B-PER Bob in B-LOC Rome for a walk today"


@pytest.fixture(autouse=True)
def victim(monkeypatch, tmp_path):
    """A user with keys, who has not allowed any host yet."""
    monkeypatch.setenv(KEY_ENV, KEY)
    monkeypatch.setenv("SERPER_API_KEY", SEARCH_KEY)
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_MNER_AUG_ENDPOINT", "")
    monkeypatch.setenv("HF_MNER_AUG_WEB", "delay=0,allow=127.0.0.1")


@pytest.fixture
def evil():
    """A stranger's endpoint, which answers what its recipe needs."""
    with EndpointServer(allowed=()) as server:
        server.say = lambda body: ANSWER
        yield server


@pytest.fixture
def few(mner):
    return DatasetDict(train=mner.select(range(4)), validation=mner.select(range(4, 6)))


@pytest.fixture
def source(few, tmp_path):
    """The victim's own set."""
    for split, rows in few.items():
        (tmp_path / "set").mkdir(exist_ok=True)
        rows.to_parquet(tmp_path / "set" / f"{split}.parquet")
    return tmp_path / "set"


PLAIN = {"detector": None, "image": False, "all_entities": False}
HARD = {"folds": 2, "seeds": 1, "target": "crf:iterations=2", "detector": "", "image": False, "rounds": 2, "support": 2}


def data_of(kind, url):
    """Return the recipe that a stranger publishes, as JSON data."""
    if kind == "gmda":
        params = {**PLAIN, "text_model": f"endpoint:{url}#gpt"}
    elif kind == "memory_hard":
        params = {**HARD, "engine": f"endpoint:{url}#gpt"}
    else:
        params = {"corpus": f"serper:{url}", "filter": False, "image": False}
    return {"method": kind, "version": method_class(kind).version, "params": params, "config": "theirs"}


def recipe_of(kind, url, splits):
    return resolve(Recipe.from_dict(data_of(kind, url)), splits)


def call(monkeypatch, capsys, *arguments, answers="", stdin=io.StringIO):
    """Return the exit code of a command, and what it printed."""
    monkeypatch.setattr(sys, "argv", ["hf-mner-aug", *map(str, arguments)])
    monkeypatch.setattr(sys, "stdin", stdin(answers))
    with pytest.raises(SystemExit) as end:
        cli.main()
    told = capsys.readouterr()
    return end.value.code or 0, told.out, told.err


# ---------------------------------------------------------------- from Python


@pytest.mark.parametrize("kind", ["gmda", "memory_hard", "rmda"])
def test_a_recipe_from_data_sends_nothing(kind, mner, tmp_path):
    splits = DatasetDict(train=mner)
    with EndpointServer(allowed=()) as endpoint, WebServer(["x"], allowed=False) as web:
        server = web if kind == "rmda" else endpoint
        variable = "SERPER_API_KEY" if kind == "rmda" else KEY_ENV
        recipe, gold = recipe_of(kind, server.url, splits)
        ways = {
            "run": lambda: run(recipe, gold, out=tmp_path / "out", progress=False),
            "preview": lambda: preview(recipe, gold, 4),
            "a probe": lambda: estimate(recipe, gold, posts=1, probe=True),
            "map": lambda: recipe.build().fit(gold).map(gold["train"]),
        }
        for way, make in ways.items():
            told = (
                rf"posts would go to {origin_of(server.url)}, unencrypted, with the key in {variable}.*nothing was sent"
            )
            with pytest.raises(HostNotAllowed, match=told):
                make()
            assert server.log == [], way
        if kind != "memory_hard":
            assert estimate(recipe, gold).assumed
        else:
            with pytest.raises(UsageError, match=r"pays for .* calls to learn"):
                estimate(recipe, gold)
        assert server.log == []


@pytest.mark.attack
def test_workers_send_nothing_either(evil, mner, tmp_path):
    recipe, gold = recipe_of("gmda", evil.url, DatasetDict(train=mner))
    recipe = Recipe.from_dict({**recipe.to_dict(), "part_size": 5})
    with pytest.raises(HostNotAllowed):
        run(recipe, gold, out=tmp_path / "out", num_proc=2, progress=False)
    assert evil.log == []
    hosts.allow(evil.url, KEY_ENV)
    run(recipe, gold, out=tmp_path / "out", num_proc=2, progress=False)
    assert {request.headers["authorization"] for request in evil.log} == {f"Bearer {KEY}"}


def test_copies_of_a_recipes_method_are_the_recipes(evil, few):
    """The results of fit, pinned and dataclasses.replace still come from the recipe: the user has named no host."""
    from dataclasses import replace

    recipe, gold = recipe_of("gmda", evil.url, few)
    built = recipe.build()
    for method in (built, built.pinned(), replace(built, copies=2), built.fit(gold), replace(built.fit(gold), seed=3)):
        assert method.from_recipe
        recipe_for(method)
        with pytest.raises(HostNotAllowed):
            augment(gold, method, progress=False)
    assert os.environ[VARIABLE] == ""
    assert evil.log == []


def test_a_method_that_the_users_code_writes_is_his_word(evil, few, tmp_path):
    method = GMDA(text_model=f"endpoint:{evil.url}#gpt", **PLAIN)
    assert augment(few, method, out=tmp_path / "out", progress=False).counts["made"] == 4
    assert {request.headers["authorization"] for request in evil.log} == {f"Bearer {KEY}"}
    assert not remembered(), "for this process only"


def test_a_host_is_allowed_for_one_key(evil, monkeypatch):
    hosts.allow(evil.url, "OTHER_KEY")
    ask = [{"role": "user", "content": "hello"}]
    with pytest.raises(HostNotAllowed, match=KEY_ENV):
        Endpoint(base_url=evil.url, model="m").chat(ask, seed=1)
    assert evil.log == []
    monkeypatch.delenv(KEY_ENV)
    assert Endpoint(base_url=evil.url, model="m").chat(ask, seed=1).text == ANSWER, "without a key it is allowed"
    assert "authorization" not in evil.log[0].headers
    monkeypatch.setenv("OTHER_KEY", "other")
    Endpoint(base_url=evil.url, model="m", key_env="OTHER_KEY").chat(ask, seed=2)
    assert evil.log[1].headers["authorization"] == "Bearer other"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_carries_no_key(evil, status):
    """A redirect by an allowed host is not followed."""
    hosts.allow(evil.url, KEY_ENV)
    with EndpointServer(allowed=()) as other:
        evil.fault("status", status=status, headers={"Location": f"{other.url}/chat/completions"})
        with pytest.raises(EndpointError, match="takes no requests"):
            Endpoint(base_url=evil.url, model="m", retries=0).chat([{"role": "user", "content": "x"}], seed=1)
        assert (len(evil.log), other.log) == (1, [])


def test_answers_on_record_need_nobodys_leave(evil, few, tmp_path):
    """A config whose answers the user has is made again without a question: nothing is sent."""
    hosts.allow(evil.url, KEY_ENV)
    recipe, gold = recipe_of("gmda", evil.url, few)
    done = run(recipe, gold, out=tmp_path / "out", progress=False)
    publish(done, tmp_path / "out")
    os.environ[VARIABLE] = ""
    before = len(evil.log)
    assert verify(tmp_path / "out", "theirs", rerun=True, source=few).ok
    os.environ["HF_MNER_AUG_CACHE"] = str(tmp_path / "another")
    with pytest.raises(EndpointError, match="not recorded"):
        verify(tmp_path / "out", "theirs", rerun=True, source=few)
    assert len(evil.log) == before


# ---------------------------------------------------------------- from the command line


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("recipe.yaml", "gmda"),
        ("augmentation.json", "memory_hard"),
        ("augmentation.json", "rmda"),
        pytest.param("augmentation.json", "gmda", marks=pytest.mark.attack),
        pytest.param("recipe.yaml", "memory_hard", marks=pytest.mark.attack),
        pytest.param("recipe.yaml", "rmda", marks=pytest.mark.attack),
    ],
)
def test_augment_with_a_strangers_recipe(form, kind, mner, tmp_path, monkeypatch, capsys):
    (tmp_path / "set").mkdir()
    mner.to_parquet(tmp_path / "set" / "train.parquet")
    with EndpointServer(allowed=()) as endpoint, WebServer(["x"], allowed=False) as web:
        server = web if kind == "rmda" else endpoint
        data = data_of(kind, server.url)
        file = tmp_path / form
        file.write_text(json.dumps({"recipe": data}) if form.endswith("json") else yaml.safe_dump(data))
        out = tmp_path / "out"
        command = ("augment", tmp_path / "set", "--recipe", file, "--out", out)
        code, printed, err = call(monkeypatch, capsys, *command, "--dry-run")
        assert code == 0, err
        assert f"sends posts to {origin_of(server.url)}, unencrypted, with the key in " in printed
        assert f"--allow-host {origin_of(server.url)}" in printed
        for more in ([], ["--yes"], ["--dry-run", "--probe"], ["--preview", "2"], ["--yes", "--preview", "2"]):
            code, printed, err = call(monkeypatch, capsys, *command, *more, answers="y\ny\ny\n")
            assert (code, err.count("\n")) == (2, 1), (more, err)
            assert "nothing was sent" in err
        code, _, err = call(monkeypatch, capsys, *command, "--yes", "--allow-host", "other.example")
        assert code == 2
        assert "no recipe here sends anything there" in err
        assert server.log == []
        assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("out")) == []
        assert not remembered()


def test_allow_host_is_remembered_for_its_key_on_this_machine(evil, source, tmp_path, monkeypatch, capsys):
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(data_of("gmda", evil.url)))
    command = ("augment", source, "--recipe", file, "--yes", "--out")
    assert call(monkeypatch, capsys, *command, tmp_path / "one", "--allow-host", origin_of(evil.url))[0] == 0
    assert remembered() == {Host(origin_of(evil.url), KEY_ENV)}
    assert {request.headers["authorization"] for request in evil.log} == {f"Bearer {KEY}"}
    assert stat.S_IMODE(hosts.hosts_file().stat().st_mode) == 0o600
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "another"))
    assert call(monkeypatch, capsys, *command, tmp_path / "two")[0] == 0, "a new process"
    before = len(evil.log)
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "a third"))
    monkeypatch.setenv("HF_MNER_AUG_ENDPOINT", "key_env=AWS_SECRET")
    monkeypatch.setenv("AWS_SECRET", "secret")
    assert call(monkeypatch, capsys, *command, tmp_path / "three")[0] == 2, "another key"
    assert len(evil.log) == before
    monkeypatch.setenv("HF_MNER_AUG_ENDPOINT", "")
    assert origin_of(evil.url) in call(monkeypatch, capsys, "hosts")[1]
    assert "forgotten" in call(monkeypatch, capsys, "hosts", "--forget", origin_of(evil.url))[1]
    assert call(monkeypatch, capsys, *command, tmp_path / "four")[0] == 2
    assert len(evil.log) == before


def test_a_host_that_the_user_types_is_his(evil, source, tmp_path, monkeypatch, capsys):
    setting = f"text_model=endpoint:{evil.url}#gpt"
    others = [part for name, value in PLAIN.items() for part in ("--set", f"{name}={str(value).lower()}")]
    command = ["augment", source, "--method", "gmda", "--set", setting, *others, "--out", tmp_path / "out"]
    code, printed, err = call(monkeypatch, capsys, *command, "--yes")
    assert code == 0, err
    assert f"text_model sends posts to {origin_of(evil.url)}" in printed
    assert len(evil.log) == 4
    assert not remembered()
    # What he types of another parameter is no word on the recipe's host.
    monkeypatch.setenv(VARIABLE, "")
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(data_of("gmda", evil.url)))
    command = ["augment", source, "--recipe", tmp_path / "r.yaml", "--set", "least_words=2", "--out", tmp_path / "b"]
    assert call(monkeypatch, capsys, *command, "--yes")[0] == 2
    assert len(evil.log) == 4


def test_a_preview_of_a_paid_method_is_asked_about(evil, source, tmp_path, monkeypatch, capsys):
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(data_of("gmda", evil.url)))
    hosts.remember(evil.url, KEY_ENV)
    command = ("augment", source, "--recipe", tmp_path / "r.yaml", "--out", tmp_path / "out", "--preview", "2")
    code, printed, _ = call(monkeypatch, capsys, *command, answers="n\n", stdin=Terminal)
    assert (code, evil.log) == (1, [])
    assert "2 posts are made by calls that may cost money" in printed
    assert call(monkeypatch, capsys, *command, "--dry-run")[0] == 0
    assert evil.log == []
    assert call(monkeypatch, capsys, *command, answers="y\n", stdin=Terminal)[0] == 0
    assert len(evil.log) == 2


def test_evaluate_asks_before_it_makes_a_strangers_config_again(evil, splits, tmp_path, monkeypatch, capsys):
    """A study makes a config again for each seed: with a stranger's config that is his host, paid by the user."""
    hosts.allow(evil.url, KEY_ENV)
    recipe, gold = recipe_of("gmda", evil.url, splits)
    publish(run(recipe, gold, out=tmp_path / "out", progress=False), tmp_path / "out")
    monkeypatch.setenv(VARIABLE, "")
    before = len(evil.log)
    command = ("evaluate", tmp_path / "out", "--configs", "theirs", "--seeds", "5", "--quiet")
    code, printed, err = call(monkeypatch, capsys, *command, "--yes")
    assert (code, err.count("\n")) == (2, 1), err
    assert f"posts would go to {origin_of(evil.url)}" in err
    allowed = ("--allow-host", origin_of(evil.url))
    code, printed, _ = call(monkeypatch, capsys, *command, *allowed, answers="n\n", stdin=Terminal)
    assert code == 1
    assert "calls that may cost money" in printed
    assert len(evil.log) == before
    code, printed, err = call(monkeypatch, capsys, *command, *allowed, "--yes")
    assert code == 0, err
    assert len(evil.log) > before


def test_a_curve_asks_before_it_pays(evil, source, tmp_path, monkeypatch, capsys):
    """Calls to the user's own host cost money, too; a stranger's host needs permission as elsewhere."""
    ids = tmp_path / "ids" / "50pct"
    ids.mkdir(parents=True)
    for name, split in (("train", "train"), ("dev", "validation")):
        rows = Dataset.from_parquet(str(source / f"{split}.parquet"))
        (ids / f"{name}.txt").write_text("".join(f"{row}\n" for row in rows["id"]))
    spec = f"gmda:text_model=endpoint:{evil.url}#gpt,detector=none,image=false,all_entities=false"
    command = ("curve", source, "--ids", ids.parent, "--methods", spec, "--seeds", "0", "--split", "validation")
    command += ("--out", tmp_path / "out", "--quiet")
    code, printed, err = call(monkeypatch, capsys, *command, answers="y\n")
    assert (code, evil.log) == (2, []), err
    assert "there is no terminal to ask in: pass --yes" in err
    told = "gmda: made for each subset, and again for each of 1 seeds, by calls that may cost money"
    assert told in printed
    assert f"text_model sends posts to {origin_of(evil.url)}" in printed
    code, printed, _ = call(monkeypatch, capsys, *command, answers="n\n", stdin=Terminal)
    assert (code, evil.log) == (1, [])
    assert not (tmp_path / "out").exists()
    code, printed, err = call(monkeypatch, capsys, *command, "--yes")
    assert code == 0, err
    assert evil.log
    assert not remembered()


ASK = """
import sys
from hf_mner_aug.cli import main
sys.argv[1:] = {arguments!r}
main()
"""


def test_in_a_terminal_the_user_is_asked(evil, source, tmp_path, monkeypatch, capsys):
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(data_of("gmda", evil.url)))
    command = ("augment", source, "--recipe", tmp_path / "r.yaml", "--out", tmp_path / "out")
    question = f"Allow {origin_of(evil.url)} on this machine? [y/N]"
    for answers in ("n\n", "\n", "", "y\nn\n"):
        code, printed, _ = call(monkeypatch, capsys, *command, answers=answers, stdin=Terminal)
        assert (code, evil.log) == (1, [])
        assert question in printed
        assert ("Go on?" in printed) == answers.startswith("y"), "the run is asked about after the host"
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.runs").exists()
    assert remembered() == {Host(origin_of(evil.url), KEY_ENV)}
    code, printed, _ = call(monkeypatch, capsys, *command, "--yes", stdin=Terminal)
    assert (code, len(evil.log)) == (0, 4)
    assert question not in printed


@pytest.mark.attack
@pytest.mark.parametrize("answer", ["n", "y"])
def test_in_a_real_terminal(answer, evil, source, tmp_path):
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(data_of("gmda", evil.url)))
    arguments = ["augment", str(source), "--recipe", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "out"), "--yes"]

    def ask(reply):
        """Return the exit code and what was printed; the question is answered when it is there."""
        terminal, inner = pty.openpty()
        code = [sys.executable, "-c", ASK.format(arguments=arguments)]
        process = subprocess.Popen(code, stdin=inner, stdout=inner, stderr=inner, start_new_session=True)
        os.close(inner)
        printed, end = "", time.monotonic() + 120
        asked = threading.Event()
        while time.monotonic() < end:
            try:
                printed += os.read(terminal, 4096).decode()
            except OSError:
                break
            if "[y/N]" in printed and not asked.is_set():
                asked.set()
                assert evil.log == []
                os.write(terminal, f"{reply}\n".encode())
        os.close(terminal)
        return process.wait(60), printed

    code, printed = ask(answer)
    assert f"Allow {origin_of(evil.url)} on this machine? [y/N]" in printed
    assert KEY not in printed
    if answer == "n":
        assert (code, evil.log, remembered()) == (1, [], frozenset())
        assert not (tmp_path / "out").exists()
        assert not (tmp_path / "out.runs").exists()
    else:
        assert (code, len(evil.log)) == (0, 4), printed
        assert remembered() == {Host(origin_of(evil.url), KEY_ENV)}


# ---------------------------------------------------------------- how a host may be spelt


@pytest.mark.parametrize(
    ("spelt", "origin"),
    [
        ("https://api.good.example/v1", "https://api.good.example"),
        ("HTTPS://API.Good.Example:443/other/path", "https://api.good.example"),
        ("https://api.good.example./v1", "https://api.good.example"),
        ("https://api.good.example:8443/v1", "https://api.good.example:8443"),
        ("http://api.good.example/v1", "http://api.good.example"),
        ("http://api.good.example:443/v1", "http://api.good.example:443"),
        ("https://api.good.example.evil.example/v1", "https://api.good.example.evil.example"),
        ("https://аpi.good.example/v1", "https://xn--pi-6kc.good.example"),  # a Cyrillic а
        ("https://api。good。example/v1", "https://api.good.example"),  # read as dots by whoever connects
        ("https://[::ffff:127.0.0.1]/v1", "https://[::ffff:127.0.0.1]"),
        ("http://2130706433/v1", "http://2130706433"),
        ("http://127.1/v1", "http://127.1"),
    ],
)
def test_one_host_has_one_spelling(spelt, origin):
    assert origin_of(spelt) == origin
    hosts.allow("https://api.good.example", KEY_ENV)
    assert is_allowed(spelt, KEY_ENV) == (origin == "https://api.good.example")


@pytest.mark.parametrize(
    "spelt",
    [
        "https://api.good.example@evil.example/v1",
        "https://api.good.example:secret@evil.example/v1",
        "https://api.good.example%2eevil.example/v1",
        "https://api.good.example\\@evil.example/v1",
        "https://api.good.example\t.evil.example/v1",
        "https://api.good.example\n/v1",
        "https://api.good.example /v1",
        "https://api.good.example\u202e/v1",
        "https://ａpi.good.example/v1",
        "https:api.good.example/v1",
        "//api.good.example/v1",
        "file:///etc/passwd",
        "ftp://api.good.example/v1",
        "https://",
        "https:///v1",
        "",
    ],
)
def test_what_is_no_host_is_refused_and_not_repeated(spelt):
    for make in (
        lambda: origin_of(spelt),
        lambda: Endpoint(base_url=spelt, model="m"),
        lambda: GMDA(text_model=f"endpoint:{spelt}#m"),
        lambda: MemoryHard(engine=f"endpoint:{spelt}#m"),
        lambda: RMDA(corpus=f"serper:{spelt or 'x'}").pinned(),
    ):
        with pytest.raises(UsageError) as refused:
            make()
        assert "secret" not in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_secret_in_an_address_is_never_published(few, tmp_path):
    """A recipe whose address holds a password or a key in its query is refused before anything is written."""
    for address in ("https://me:sk-secret@host.example/v1", "https://host.example/v1?key=sk-secret"):
        for kind in ("gmda", "memory_hard", "rmda"):
            with pytest.raises(UsageError) as refused:
                run(*recipe_of(kind, address, few), out=tmp_path / "out", progress=False)
            assert "sk-secret" not in str(refused.value)
    assert not (tmp_path / "out.runs").exists()


def test_a_slip_in_an_engines_name_does_not_repeat_the_address():
    for make in (GMDA, MemoryHard):
        name = "text_model" if make is GMDA else "engine"
        with pytest.raises(UsageError) as refused:
            make(**{name: "endpont:https://me:sk-secret@host.example/v1#m"})
        assert "endpont:https:" in str(refused.value)
        assert "sk-secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        *((address, False) for address in ("127.0.0.1", "10.1.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0")),
        *((address, False) for address in ("224.0.0.1", "192.0.2.1", "198.18.0.1", "255.255.255.255")),
        *(
            (address, False)
            for address in ("::1", "::", "fe80::1", "fc00::1", "fec0::1", "ff02::1", "100::1", "4000::1")
        ),
        *((address, False) for address in ("::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1")),
        *((address, False) for address in ("2002:7f00:1::", "2001:0:7f00:1::1", "2001:db8::1", "fe80::1%eth0")),
    ],
)
def test_pages_are_fetched_from_public_addresses_only(address, public):
    """hydrate --web and rmda fetch the addresses that a stranger's stubs and search results name, without any key."""
    assert is_public(address) == public


# ---------------------------------------------------------------- what is remembered


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[1]",
        b'[{"host": "https://x.example"}]',
        b'[{"host": "javascript:x", "key": ""}]',
        b'[{"host": "https://x.example", "key": "sk-secret"}]',
        b'[{"host": "https://x.example", "key": ["A"]}]',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_allows_nothing(content):
    path = hosts.hosts_file()
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(Corrupt, match="is damaged: delete it") as damaged:
        require_allowed("https://x.example", KEY_ENV)
    assert "\n" not in str(damaged.value)
    with pytest.raises(Corrupt):
        hosts.remember("https://y.example", KEY_ENV)
    assert path.read_bytes() == content


def test_a_file_that_others_may_write_allows_nothing():
    hosts.remember("https://x.example", KEY_ENV)
    os.environ[VARIABLE] = ""
    assert is_allowed("https://x.example", KEY_ENV)
    hosts.hosts_file().chmod(0o666)
    with pytest.raises(Corrupt, match="others may write it"):
        is_allowed("https://x.example", KEY_ENV)


def test_two_that_remember_at_once_are_both_remembered():
    names = [f"https://h{i}.example" for i in range(24)]
    threads = [threading.Thread(target=hosts.remember, args=(name, KEY_ENV)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {host.origin for host in remembered()} == set(names)
    assert [path.name for path in hosts.hosts_file().parent.iterdir() if path.suffix == ".tmp"] == []
    with FileLock(hosts.hosts_file().with_suffix(".lock")).acquire(timeout=1):
        pass


def test_the_variable_is_checked(monkeypatch):
    monkeypatch.setenv(VARIABLE, f"x.example={KEY_ENV}, http://10.0.0.5:8000")
    assert is_allowed("https://x.example", KEY_ENV)
    assert is_allowed("http://10.0.0.5:8000/v1")
    assert not is_allowed("http://10.0.0.5:8000/v1", KEY_ENV)
    for wrong in ("https://me:sk-secret@x.example", "x.example=sk-secret", "ftp://x.example"):
        monkeypatch.setenv(VARIABLE, wrong)
        with pytest.raises(UsageError, match=VARIABLE) as refused:
            is_allowed("https://y.example")
        assert "sk-secret" not in str(refused.value)


# ---------------------------------------------------------------- keys


def test_a_key_stands_in_no_file_and_no_line(evil, source, tmp_path, monkeypatch, capsys):
    """Even a server that repeats it does not get it into the run, the config, records, errors or reprs."""
    evil.say = lambda body: f"{ANSWER} {KEY}"
    evil.fault("status", status=400, body=f"no, {KEY}".encode(), times=1)
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(data_of("gmda", evil.url)))
    command = ("augment", source, "--recipe", file, "--yes", "--allow-host", origin_of(evil.url), "--out")
    code, printed, err = call(monkeypatch, capsys, *command, tmp_path / "out")
    assert code == 0, err
    evil.fault("status", status=401, body=f"wrong key {KEY}".encode())
    monkeypatch.setenv("HF_MNER_AUG_CACHE", str(tmp_path / "another"))
    code, more, err = call(monkeypatch, capsys, *command, tmp_path / "two")
    assert code == 2
    assert "refuses the key in" in err
    assert len(evil.log) > 4
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "augmentation.json" for path in files)
    assert any(path.parent.parent.name == "responses" for path in files)
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    assert KEY not in printed + more + err
    assert KEY not in repr(Endpoint(base_url=evil.url, model="m"))


def test_the_sample_answers_of_this_file_are_good(evil, few):
    """Otherwise the tests above would count requests whose answers no method can use."""
    hosts.allow(evil.url, KEY_ENV)
    assert draw_posts()[0].id == few["train"]["id"][0]
    method = GMDA(text_model=f"endpoint:{evil.url}#gpt", **PLAIN).fit(few)
    assert len(method.map(few["train"])) == 4
