"""The command that measures: its page, its table, and the arithmetic of its simulation."""

import sys
import types

import pytest
from places import ROOT


@pytest.fixture
def command(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import __main__, measured

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["benchmarks", "--page", str(tmp_path / "page.md"), *words])
        __main__.main()
        return (tmp_path / "page.md").read_text(encoding="utf-8")

    def add(name, measure):
        module = types.SimpleNamespace(__doc__=f"What {name} measures.", measure=measure)
        monkeypatch.setitem(sys.modules, f"benchmarks.{name}", module)
        monkeypatch.setitem(__main__.NAMES, name, name.title())

    return types.SimpleNamespace(run=run, add=add, Row=measured.Row)


def test_a_benchmark_that_is_run_again_replaces_its_section(command, capsys):
    times = iter((1.5, 2.5))
    command.add("first", lambda folder, n: [command.Row("work", f"{n} rows", "peer 2 s", next(times), "≤ 2")])
    command.add("second", lambda folder, n: [command.Row("other", "3 MB")])
    page = command.run("first", "second", "--posts", "20000")
    assert "| work | 20000 rows | peer 2 s | 1.50 | ≤ 2 |" in page
    assert "$ python -m benchmarks first --posts 20000\n" in page
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "| work | 20000 rows | peer 2 s | 1.50 | ≤ 2 |",
        "| other | 3 MB |  |  |  |",
    ]
    page = command.run("first")
    assert "| work | 100000 rows | peer 2 s | 2.50 | ≤ 2 |" in page
    assert "| other | 3 MB |  |  |  |" in page
    assert page.count("## First") == 1
    assert "What first measures." in page


@pytest.mark.parametrize(
    ("words", "said"), [(["nothing"], "no benchmark nothing: known are text, "), (["--posts", "5"], "at least 10000")]
)
def test_a_wrong_word_is_told(command, capsys, words, said):
    with pytest.raises(SystemExit) as end:
        command.run(*words)
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_the_makespan_of_a_few_parts(command, monkeypatch):
    from benchmarks import scale

    monkeypatch.setattr(scale, "LATENCY_S", 0.25)  # four requests of a worker: 1 s; of the driver: 0.25 s and 0.75 s
    monkeypatch.setattr(scale, "START_S", 5.0)
    assert scale.makespan(1, 3, [2.0], 0.0, 0.0) == 5 + 0.25 + 3 * (2 + 1) + 0.75, "the second part waits at the worker"
    assert scale.makespan(3, 3, [2.0], 0.0, 0.0) == 5 + 0.25 + (2 + 1) + 0.75
    assert scale.makespan(32, 32, [2.0], 0.0, 0.0) == 5 + 0.25 + (2 + 1) + 2 * 0.75, "16 are checked at a time"
    assert scale.makespan(100, 10, [2.0], 4.0, 0.0) == 5 + 10 * 4 + 0.25 + (2 + 1) + 0.75, "the driver has one CPU"


def test_what_a_function_took_alone(command):
    from benchmarks.measured import alone
    from benchmarks.scale import makespan

    took = alone(makespan, 1, 3, [2.0], 1.0, 0.0)
    assert took.result == makespan(1, 3, [2.0], 1.0, 0.0)
    assert 0 <= took.cpu_seconds < 5


def test_a_peer_that_is_not_installed_is_said(command, monkeypatch, tmp_path):
    from benchmarks import peers

    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    assert peers.measure(tmp_path, 10_000)[0].measured == "not measured: nlpaug is not installed (pip install nlpaug)"


def test_a_pass_is_bound_by_what_it_reads_or_by_what_it_computes(command):
    torch = pytest.importorskip("torch")
    from benchmarks import roofline

    peak, bandwidth = roofline.PEAK, roofline.BANDWIDTH
    assert roofline.Pass(flops=peak, moved=4 * bandwidth).share() == 0.25
    assert roofline.Pass(flops=3 * peak, moved=bandwidth).share() == 1
    assert roofline.Pass(flops=3 * peak, moved=bandwidth).seconds() == 3
    layer = torch.nn.Linear(3, 5, bias=False, device="meta")
    assert roofline.counted(lambda: layer(torch.empty(2, 3, device="meta"))) == 2 * 2 * 3 * 5
    assert roofline.weight_bytes(layer, layer) == 2 * 2 * 15


def test_pictures_are_mixed_beside_pillow_where_no_tweets_are(command, monkeypatch):
    from benchmarks import images, mixing

    monkeypatch.setenv("MNER_DATA", "/nowhere")
    monkeypatch.setattr(mixing, "RUNS", 1)
    (row,) = mixing.measure(None, 0)
    assert row.what == "mixing 100 pictures, each decoded once"
    assert 0 < row.ratio < 50
    monkeypatch.setattr(images, "DATA", ROOT / "nowhere")
    (row,) = images.measure(None, 0)
    assert row.measured == "not measured: there is no nowhere"


def test_what_is_not_installed_is_not_measured(command, monkeypatch):
    from benchmarks import executors, measured

    took = measured.Took(2.0, 1.0, 0.0, 10, 0.0)
    monkeypatch.setattr(executors, "made_posts", lambda folder, n: folder)
    monkeypatch.setattr(executors, "sharded", lambda source, folder: folder)
    monkeypatch.setattr(executors, "alone", lambda function, *arguments: took)
    monkeypatch.setattr(executors, "killed_half_way", lambda *arguments: 1.5)
    monkeypatch.setattr(executors.importlib.util, "find_spec", lambda name: name == "hf_mner_aug" or None)
    rows = executors.measure(ROOT, 0)
    assert [row.ratio for row in rows] == [1.0, 0.75, None, None]
    assert rows[2].measured == "not measured: datatrove is not installed"
