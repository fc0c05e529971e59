"""A sweep as it is written, checked, run, continued and summed up."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from scipy import stats

from conftest import until
from leadline import launch, sweep
from leadline.errors import InputError
from leadline.runs import sha256
from leadline.sweep import Keys
from leadline.sweep.state import noted, recipe_file
from leadline.sweep.template import filled

RECIPE = {"data": {"train": "a.csv", "test": "t.csv"}, "model": "tiny", "training": {"epochs": 2, "seed": 7}}
TRIALS = [
    {"name": "base"},
    {"name": "from-{which}", "axes": {"which": ["base"]}, "set": {"base.run": "trial:base"}},
    {
        "name": "e{epochs}_r{rate:.2f}",
        "axes": {"epochs": [1, 3], "rate": [0.1, 0.25]},
        "set": {
            "training.epochs": "{epochs}",
            "training.learning_rate": "{rate}",
            "loss.class_weights": {"x": "{rate}"},
        },
    },
]


def definition(**more):
    return {"name": "try", "recipe": RECIPE, "seeds": [0, 1], "trials": TRIALS, **more}


def refused(**more):
    with pytest.raises(InputError) as told:
        sweep.load(definition(**more))
    return str(told.value)


# As it is written


def test_a_union_of_grids_in_the_order_of_the_definition(tmp_path):
    loaded = sweep.load(definition(), root="runs")
    names = ["base", "from-base", "e1_r0.10", "e1_r0.25", "e3_r0.10", "e3_r0.25"]
    assert loaded.names == names and len(loaded) == 12
    assert [(t.index, t.name, t.seed) for t in loaded.trials] == [
        (2 * i + s, n, s) for i, n in enumerate(names) for s in (0, 1)
    ]
    last = loaded.trial("e3_r0.25-s1")
    assert last.path == Path("runs/try/e3_r0.25-s1") and last.needs == ()
    assert (last.recipe.training.epochs, last.recipe.training.learning_rate, last.recipe.training.seed) == (3, 0.25, 1)
    assert last.recipe.loss.class_weights == {"x": 0.25} and last.differs["training.epochs"] == 3
    assert last.recipe.data.seed == 0 and loaded.trial("base-s0").recipe.training.epochs == 2
    assert [t.recipe.training.seed for t in loaded.trials[:4]] == [0, 1, 0, 1]


def test_a_trial_stands_for_its_directory_of_the_same_seed_and_comes_first():
    trials = [{"name": "late", "set": {"base.run": "trial:base"}}, {"name": "base"}]
    loaded = sweep.load(definition(trials=trials), root="here")
    assert [t.recipe.base and t.recipe.base.run for t in loaded.trials] == [
        "here/try/base-s0",
        "here/try/base-s1",
        None,
        None,
    ]
    assert loaded.trial("late-s1").needs == ("base-s1",)
    assert [t.title for t in loaded.ordered()] == ["base-s0", "late-s0", "base-s1", "late-s1"]
    inside = sweep.load(definition(trials=[{"name": "base"}, {"name": "on", "set": {"model": "trial:base/model"}}]))
    assert inside.trial("on-s1").recipe.model == "runs/try/base-s1/model" and inside.trial("on-s1").needs == (
        "base-s1",
    )


def test_the_defaults_are_one_trial_with_the_recipes_own_seed(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"recipe": RECIPE}))
    loaded = sweep.load(file)
    assert (loaded.name, [t.title for t in loaded.trials]) == ("mine", ["base-s7"])


def test_a_recipe_lies_where_the_command_is_called_or_beside_the_sweep(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "sweep.yaml").write_text("name: x\nrecipe: r.yaml\n")
    (tmp_path / "sub" / "r.yaml").write_text("data: {train: beside.csv, label: no}\nrun: {key: 1}\n")
    monkeypatch.chdir(tmp_path)
    assert sweep.load("sub/sweep.yaml").trials[0].recipe.data.train == "beside.csv"
    assert sweep.load("sub/sweep.yaml").trials[0].recipe.data.label == "no"  # a word, as in every recipe
    (tmp_path / "r.yaml").write_text("data: {train: here.csv}\n")
    assert sweep.load("sub/sweep.yaml").trials[0].recipe.data.train == "here.csv"
    (tmp_path / "sub" / "sweep.yaml").write_text("name: x\nrecipe: none.yaml\n")
    with pytest.raises(InputError, match="none.yaml and sub/none.yaml: no such recipe file"):
        sweep.load("sub/sweep.yaml")


@pytest.mark.parametrize(
    ("template", "values", "expected"),
    [
        ("{a}", {"a": [1, {"b": None}]}, [1, {"b": None}]),
        ("{a}", {"a": None}, None),
        ("x{a}", {"a": None}, "xnull"),
        ("x{a}{b}", {"a": True, "b": "w"}, "xtruew"),
        ("{a:.1f}", {"a": 2}, "2.0"),
        ("{a:03d}", {"a": 7}, "007"),
        ("{{a}}", {"a": 7}, "{a}"),
        (["{a}", {"k": "p{a}"}, 3], {"a": 7}, [7, {"k": "p7"}, 3]),
        ("plain", {}, "plain"),
        ("", {}, ""),
    ],
)
def test_templates(template, values, expected):
    assert filled(template, values) == expected


def test_the_seed_is_a_value_but_no_name():
    loaded = sweep.load(definition(trials=[{"name": "a", "set": {"data.seed": "{seed}"}}]))
    assert [t.recipe.data.seed for t in loaded.trials] == [0, 1]
    assert "no axis is called `seed` in its name" in refused(trials=[{"name": "a{seed}"}])


def test_everything_wrong_is_told_at_once():
    told = refused(
        seeds=[0, 1, 1],
        trials=[
            {"name": "same"},
            {"name": "same"},
            {"name": "k", "axes": {"k": [1, 2]}},
            {"name": "e{k}", "axes": {"k": []}},
            {"name": "b{gama}", "axes": {"gamma": [1]}},
            {"name": "c", "set": {"training.epochs": "{epoch}"}},
            {"name": "d{k}", "axes": {"k": [1, 2]}, "set": {"training.epoch": "{k}"}},
            {"name": "g", "set": {"base.run": "trial:sam"}},
            {"name": "up/down"},
        ],
    )
    for sentence in [
        "sweep: the sweep is not valid; nothing was run",
        "`seeds`: 1 stands there more than once",
        "`same` is the name of 2 trials (entry 1 and entry 2)",
        "`k` is the name of 2 trials (entry 3); let the name tell every axis",
        "entry 4 (`e{k}`): the axis `k` is empty",
        "entry 5 (`b{gama}`): no axis is called `gama` in its name. Did you mean `gamma`?",
        "entry 6 (`c`): no axis is called `epoch` in `set: training.epochs`.",
        "d1 and 5 more: `training.epoch`: unknown key. Did you mean `epochs`?",
        "g and 2 more: `trial:sam`: there is no trial of that name. Did you mean `same`?",
        "entry 9: `up/down` is no name of a directory",
    ]:
        assert sentence in told, sentence


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"sedes": [1]}, "`sedes`: unknown key. Did you mean `seeds`?"),
        ({"trials": [{"name": "a", "axs": {}}]}, "`trials.1.axs`: unknown key. Did you mean `axes`?"),
        ({"trials": [{"axes": {}}]}, "`trials.1.name`: required"),
        ({"trials": [{"name": "a{k}", "axes": {"k": 3}}]}, "`trials.1.axes.k`: Input should be a valid list (given"),
        ({"seeds": []}, "`seeds`: List should have at least 1 item"),
        ({"name": "../x"}, "a sweep needs a name"),
        ({"trials": [{"name": "a", "axes": {"seed": [1]}}]}, "seeds are no axis and no key of `set`"),
        ({"trials": [{"name": "a", "set": {"training.seed": 1}}]}, "seeds are no axis and no key of `set`"),
        ({"trials": [{"name": "a", "set": {"select.keep": ["easy"]}}]}, "select needs `base: {run: …}`"),
        ({"trials": [{"name": "a", "set": {"data.train.x": 1}}]}, "`data.train` is a single value, it has no key `x`"),
        ({"trials": [{"name": "a{k:.1f}", "axes": {"k": ["w"]}}]}, "`w` cannot be written as `{…:.1f}`"),
        ({"trials": [{"name": "a{k"}]}, "a brace that is meant is written twice"),
        ({"trials": [{"name": "a", "set": {"evaluate.metrics": ["acuracy"]}}]}, "Did you mean `accuracy`?"),
        ({"trials": [{"name": "a", "set": {"base.run": "trial:a"}}]}, "in a circle: a -> a"),
    ],
)  # fmt: skip
def test_each_mistake_is_named(more, sentence):
    assert sentence in refused(**more)


def test_a_circle_of_trials_is_refused():
    def needs(name, other):
        return {"name": name, "set": {"base.run": f"trial:{other}"}}

    told = refused(trials=[{"name": "free"}, needs("a", "b"), needs("b", "c"), needs("c", "a")])
    assert "the trials wait for each other in a circle: a -> b -> c -> a" in told
    assert "circle" in refused(recipe={**RECIPE, "base": {"run": "trial:base"}}, trials=[{"name": "base"}])


def test_the_examples_are_sweeps():
    files = sorted((Path(__file__).resolve().parents[1] / "recipes").glob("*.yaml"))
    assert [file.stem for file in files] == [sweep.load(file).name for file in files] and files


def test_files_that_are_no_sweeps(tmp_path):
    for text, sentence in [
        ("a: [", "not valid YAML"),
        ("data: {train: x}", "this is a recipe"),
        ("- a", "a sweep is a YAML mapping"),
    ]:
        (tmp_path / "s.yaml").write_text(text)
        with pytest.raises(InputError, match=sentence):
            sweep.load(tmp_path / "s.yaml")
    with pytest.raises(InputError, match="no such sweep file"):
        sweep.load(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="no sweep was started there"):
        sweep.load(tmp_path)


def test_expanding_and_checking_needs_no_torch(tmp_path):
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(definition()))
    code = (
        "import sys; from leadline import sweep\n"
        "assert len(sweep.load(sys.argv[1])) == 12\n"
        "assert not {'torch', 'transformers', 'accelerate'} & set(sys.modules), 'torch'"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "s.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("only", "titles"),
    [
        ("0-1", ["base-s0", "base-s1"]),
        ("0,3", ["base-s0", "from-base-s1"]),
        ("e1*", ["e1_r0.10-s0", "e1_r0.10-s1", "e1_r0.25-s0", "e1_r0.25-s1"]),
        (["base", "e3_r0.25-s1"], ["base-s0", "base-s1", "e3_r0.25-s1"]),
        ("*-s1,11", ["base-s1", "from-base-s1", "e1_r0.10-s1", "e1_r0.25-s1", "e3_r0.10-s1", "e3_r0.25-s1"]),
    ],
)
def test_choosing(only, titles):
    assert [t.title for t in sweep.choose(sweep.load(definition()), only)] == titles


def test_choosing_what_is_not_there():
    with pytest.raises(InputError, match=r"`bas` is no trial \(0 to 11, a name or a glob\). Did you mean `base`"):
        sweep.choose(sweep.load(definition()), "12,bas")


# As it is run: a shell command stands in for a training and copies the run that it would make.


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("text,label\nx,y\n")
    Path("t.csv").write_text("text,label\nz,y\n")
    return tmp_path


def make_run(trial, value=0.5, key=None):
    """The files of a finished run that a sweep reads."""
    (trial.path / "signals").mkdir(parents=True)
    (trial.path / "signals" / "epoch_001.arrow").write_bytes(f"{trial.seed}".encode())
    (trial.path / "examples.parquet").touch()
    run = {"run": {"key": key or Keys().of(trial.recipe)}}
    (trial.path / "recipe.yaml").write_text(yaml.safe_dump({**trial.recipe.to_dict(), **run}))
    end = {"event": "end", "seconds": 60.0 * (1 + trial.seed), "examples_per_second": 100.0}
    (trial.path / "metrics.jsonl").write_text(json.dumps({"event": "epoch"}) + "\n" + json.dumps(end) + "\n")
    results = {
        "test": {"macro_f1": {"value": value, "n": 10}, "f1[a]": {"value": 1.0, "n": 4}, "nll": {"value": None, "n": 9}}
    }
    (trial.path / "results.json").write_text(json.dumps(results))


@pytest.fixture
def trainer(place, monkeypatch):
    """trainer(sweep, broken=…): every `leadline train` copies a run made beforehand, and counts; `broken` fail."""

    def prepare(loaded, broken=()):
        for trial in loaded.ordered():
            make_run(trial)
        made = place / "made"
        shutil.rmtree(made, ignore_errors=True)
        loaded.path.rename(made)
        (place / "broken").write_text("\n".join(broken))

        def command(recipe, name, root, arguments=()):
            copy = f"mkdir -p {root} && rm -rf {root}/{name} && cp -r {made}/{name} {root}/{name}"
            fail = f"grep -qx {name} {place}/broken && {{ echo '{name} is broken'; exit 1; }}"
            return ("/bin/sh", "-c", f"echo {name} >> {place}/started; {fail}; {copy}")

        monkeypatch.setattr(launch, "train_command", command)

    return prepare


def started(place):
    file = place / "started"
    names = file.read_text().split() if file.exists() else []
    file.unlink(missing_ok=True)
    return sorted(names)


TWO = [{"name": "base"}, {"name": "after", "set": {"base.run": "trial:base"}}]


def test_only_what_is_missing_is_computed(place, trainer):
    loaded = sweep.load(definition(trials=TWO))
    trainer(loaded, broken=["base-s1"])
    states = sweep.run(loaded, jobs=2)
    assert states == {"base-s0": "finished", "after-s0": "finished", "base-s1": "failed", "after-s1": "skipped"}
    assert started(place) == ["after-s0", "base-s0", "base-s1"]
    keys = Keys()
    assert [sweep.state(loaded, t, keys) for t in loaded.trials] == ["finished", "failed", "finished", "skipped"]
    assert launch.last_lines(sweep.log_file(loaded, loaded.trial("base-s1"))) == ["base-s1 is broken"]
    (place / "broken").write_text("")
    assert sweep.run(loaded) == {"base-s0": "there", "after-s0": "there", "base-s1": "finished", "after-s1": "finished"}
    assert started(place) == ["after-s1", "base-s1"]
    again = sweep.load(loaded.path)  # the directory knows what it is
    assert [vars(t) for t in again.trials] == [vars(t) for t in loaded.trials]
    assert set(sweep.run(again).values()) == {"there"} and started(place) == []


def test_each_trial_has_its_whole_recipe_beside(place, trainer):
    loaded = sweep.load(definition(trials=TWO, seeds=[3]))
    trainer(loaded)
    sweep.run(loaded)
    for trial in loaded.trials:
        assert yaml.safe_load(recipe_file(loaded, trial).read_text()) == trial.recipe.to_dict()
    assert sorted(p.name for p in loaded.path.iterdir()) == [".sweep", "after-s3", "base-s3", "sweep.yaml"]


def test_what_a_chosen_trial_needs_comes_along(place, trainer):
    loaded = sweep.load(definition(trials=[*TWO, {"name": "other"}]))
    trainer(loaded)
    assert sweep.run(loaded, only="after-s1") == {"base-s1": "finished", "after-s1": "finished"}
    assert started(place) == ["after-s1", "base-s1"]


def test_changed_data_or_recipes_are_refused_before_anything_runs(place, trainer):
    loaded = sweep.load(definition(trials=TWO))
    trainer(loaded)
    sweep.run(loaded)
    started(place)
    other = sweep.load(definition(trials=[*TWO, {"name": "new"}], recipe={**RECIPE, "model": "minilm"}))
    with pytest.raises(
        InputError, match="try: nothing was run\n  - runs/try/base-s0: a run of another recipe or of other"
    ):
        sweep.run(other)
    Path("a.csv").write_text("text,label\nx,other\n")
    with pytest.raises(InputError, match="of other data"):
        sweep.run(loaded)
    keys = Keys()
    assert {sweep.state(loaded, t, keys) for t in loaded.trials} == {"other run"}
    Path("t.csv").unlink()
    with pytest.raises(InputError, match="t.csv: No such file or directory; paths are relative to where"):
        sweep.run(sweep.load(definition(name="second")))
    assert started(place) == [] and not Path("runs/second").exists()


def test_further_arguments_and_processes_reach_every_training(place, monkeypatch):
    def command(recipe, name, root, arguments=()):
        return ("/bin/sh", "-c", f"echo {' '.join(arguments)} threads $OMP_NUM_THREADS > {place}/{name}")

    monkeypatch.setattr(launch, "train_command", command)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(12)), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    loaded = sweep.load(definition(trials=[{"name": "a"}]))
    sweep.run(loaded, jobs=2, arguments=["--check"], processes=3)
    assert Path("a-s0").read_text() == Path("a-s1").read_text() == "--check --processes 3 threads 2\n"


def test_a_base_that_is_neither_trial_nor_run_is_refused(place):
    with pytest.raises(InputError, match="runs/none: no run there, and a-s0 has it as its base"):
        sweep.run(sweep.load(definition(trials=[{"name": "a", "set": {"base.run": "runs/none"}}])))
    with pytest.raises(InputError, match="no such backend"):
        sweep.run(sweep.load(definition(trials=[{"name": "a"}])), on="cloud")


def test_runs_found_elsewhere_are_taken_with_what_stands_on_them(place, trainer):
    first = sweep.load(definition(trials=TWO))
    trainer(first)
    sweep.run(first)
    started(place)
    second = sweep.load(definition(name="second", trials=[*TWO, {"name": "new", "set": {"loss.label_smoothing": 0.1}}]))
    for trial in second.trials[4:]:  # the one that is nowhere yet
        make_run(trial)
        shutil.move(trial.path, place / "made")
    states = sweep.run(second, found="runs")
    assert {title for title, state in states.items() if state == "there"} == {
        "base-s0",
        "base-s1",
        "after-s0",
        "after-s1",
    }
    assert started(place) == ["new-s0", "new-s1"]
    assert os.readlink("runs/second/after-s0") == "../try/after-s0"
    assert set(sweep.run(second).values()) == {"there"}  # now without being told where
    shutil.rmtree("runs/try/after-s1")  # what was taken has gone: computed here
    shutil.rmtree(place / "made")
    made = second.trial("after-s1")
    Path("runs/second/after-s1").unlink()
    make_run(made)
    (place / "made").mkdir()
    shutil.move(made.path, place / "made")
    Path("runs/second/after-s1").symlink_to("../try/after-s1")
    assert sweep.run(second, found="runs")["after-s1"] == "finished" and not made.path.is_symlink()
    with pytest.raises(InputError, match="--found nowhere: no such directory"):
        sweep.run(second, found="nowhere")


def test_other_data_are_never_taken_from_elsewhere(place, trainer):
    first = sweep.load(definition(trials=[{"name": "base"}], seeds=[0]))
    make_run(first.trials[0], key="0" * 64)
    second = sweep.load(definition(name="second", trials=[{"name": "base"}], seeds=[0]))
    trainer(second)
    assert sweep.run(second, found="runs") == {"base-s0": "finished"}


def test_the_key_of_a_local_model_holds_its_weights(place):
    def recipe(model):
        return sweep.load(definition(recipe={**RECIPE, "model": model})).trials[0].recipe

    assert Keys().of(recipe("some/where/else")) is None and Keys().of(recipe("./else")) is None
    assert Keys().of(recipe("owner/name")) == Keys().of(recipe("owner/name"))
    model = Path("my/own/model")
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"one")
    (model / "README.md").write_text("no part of it")
    before = Keys().of(recipe("my/own/model"))
    (model / "README.md").write_text("still none")
    assert Keys().of(recipe("my/own/model")) == before
    (model / "model.safetensors").write_bytes(b"two")
    changed = Keys().of(recipe("my/own/model"))
    (model / "config.json").write_text("{ }")
    assert len({before, changed, Keys().of(recipe("my/own/model"))}) == 3
    Path("tiny").mkdir()  # of the same name as ours
    (Path("tiny") / "model.bin").touch()
    with_folder = Keys().of(recipe("tiny"))
    shutil.rmtree("tiny")
    assert Keys().of(recipe("tiny")) == with_folder
    shutil.copytree("my/own/model", "elsewhere")
    assert Keys().of(recipe("./elsewhere")) == Keys().of(recipe("my/own/model"))


def test_the_signals_of_a_base_are_in_the_key_and_not_where_it_lies(place, monkeypatch):
    loaded = sweep.load(definition(trials=TWO, seeds=[0, 1]))
    for trial in loaded.trials[:2]:
        make_run(trial)
    after = loaded.trial("after-s0").recipe
    shutil.copytree("runs/try/base-s0", "moved")
    moved = after.model_copy(update={"base": after.base.model_copy(update={"run": "moved"})})
    read = []
    monkeypatch.setattr(sweep.state.__globals__["runs"], "sha256", lambda path: read.append(path) or sha256(path))
    keys = Keys()
    assert keys.of(after) == keys.of(moved)
    hashed = len(read)
    assert keys.of(after) == keys.of(moved) and len(read) == hashed  # each file once
    Path("moved/signals/epoch_001.arrow").write_bytes(b"other signals")
    assert keys.of(after) != keys.of(moved) and len(read) == hashed + 1


def test_a_trial_that_was_killed_has_failed_afterwards_too(place, monkeypatch):
    loaded = sweep.load(definition(trials=[{"name": "a"}], seeds=[0]))
    monkeypatch.setattr(launch, "train_command", lambda *_: ("/bin/sh", "-c", "kill -9 $$"))
    assert sweep.run(loaded) == {"a-s0": "failed"}
    assert sweep.state(loaded, loaded.trials[0], Keys()) == "failed"


# As it is summed up


@pytest.fixture
def measured(place):
    """base, good and bad over six seeds; good is better in each, bad has one seed less and one undefined value."""
    loaded = sweep.load(definition(trials=[{"name": name} for name in ("base", "good", "bad")], seeds=list(range(6))))
    for trial in loaded.trials:
        value = {"base": 0.5, "good": 0.6, "bad": 0.4}[trial.name] + 0.01 * trial.seed + 0.003 * (trial.seed % 2)
        if trial.name == "good":
            value += 0.002 * trial.seed
        if trial.title == "bad-s4":
            value = None
        if trial.title != "bad-s5":
            make_run(trial, value)
    loaded.path.mkdir(exist_ok=True)
    (loaded.path / "sweep.yaml").write_text(yaml.safe_dump(dict(loaded.document)))
    return loaded


def test_the_summary_pairs_by_seed(measured):
    found = sweep.summary(measured)
    assert (found.split, found.metrics, found.against) == ("test", ("macro_f1",), "base")
    rows = {row["trial"]: row for row in found.averages.to_dicts()}
    assert [rows[name]["n"] for name in ("base", "good", "bad")] == [6, 6, 4] and rows["base"]["difference"] is None
    values = {name: [row["macro_f1"] for row in found.trials.to_dicts() if row["trial"] == name] for name in rows}
    base, good = values["base"], values["good"]
    low, high = stats.t.interval(0.95, 5, sum(good) / 6, stats.sem(good))
    assert (rows["good"]["mean"], rows["good"]["low"], rows["good"]["high"]) == pytest.approx(
        (sum(good) / 6, low, high)
    )
    assert rows["good"]["difference"] == pytest.approx(sum(good) / 6 - sum(base) / 6)
    assert rows["good"]["p"] == pytest.approx(2 / 2**6) and rows["good"]["p_holm"] == pytest.approx(4 / 2**6)
    assert rows["bad"]["difference"] == pytest.approx(-0.1) and rows["bad"]["pairs"] == 4
    trial = found.trials.to_dicts()[1]
    assert trial["minutes"] == 2.0 and trial["examples_per_second"] == 100.0 and trial["state"] == "finished"
    assert found.trials.to_dicts()[-1] == {"index": 17, "trial": "bad", "seed": 5, "state": "new", "macro_f1": None,
                                           "minutes": None, "examples_per_second": None}  # fmt: skip
    assert found.notes == ("17 of 18 trials are finished; the averages are over those",)


def test_the_summary_of_chosen_metrics_against_another_trial(measured):
    found = sweep.summary(measured, "f1[a],macro_f1", against="good")
    assert found.metrics == ("f1[a]", "macro_f1") and found.against == "good"
    assert sweep.summary(measured, "all").metrics == ("macro_f1", "nll")
    undefined = sweep.summary(measured, "nll").averages.to_dicts()[0]
    assert undefined["n"] == 0 and undefined["mean"] != undefined["mean"]
    for arguments, sentence in [
        ({"metrics": "macrof1"}, "`macrof1`: no trial has it. Did you mean `macro_f1`?"),
        ({"split": "train"}, "no trial has results for `train`; there are: test"),
        ({"against": "bas"}, "there is no trial of that name. Did you mean `base`?"),
    ]:
        with pytest.raises(InputError, match=sentence.replace("?", r"\?")):
            sweep.summary(measured, **arguments)


def test_few_seeds_and_none(place):
    loaded = sweep.load(definition(trials=[{"name": "a"}, {"name": "b"}]))
    with pytest.raises(InputError, match="no trial is finished"):
        sweep.summary(loaded)
    for trial in loaded.trials:
        make_run(trial, 0.1 * trial.index)
    assert "p cannot fall below 0.5" in sweep.summary(loaded).notes[0]


# On the command line


def test_a_file_is_run_and_a_verb_is_a_verb(place, trainer, leadline):
    loaded = sweep.load(definition(trials=TWO))
    trainer(loaded, broken=["base-s1"])
    Path("s.yaml").write_text(yaml.safe_dump(definition(trials=TWO)))
    status, out, _ = leadline("sweep", "s.yaml", "--dry-run", "--json")
    told = json.loads(out)
    assert status == 0 and told["path"] == "runs/try" and [t["state"] for t in told["trials"]] == ["new"] * 4
    last = {"index": 3, "trial": "after", "seed": 1, "differs": {"base.run": "trial:base"}, "needs": ["base-s1"]}
    assert told["trials"][3] == {**last, "state": "new", "done": "", "path": "runs/try/after-s1"}
    assert started(place) == [] and not Path("runs/try").exists()
    status, out, err = leadline("sweep", "--jobs", 2, "s.yaml")
    assert status == 1 and "base-s1: FAILED after" in err and "    base-s1 is broken" in err
    assert "after-s1: skipped: it needs base-s1" in err and "2 finished" in out and "1 failed" in out
    status, out, _ = leadline("sweep", "status", "runs/try", "--only", "*-s1")
    assert status == 0 and "1 failed, 1 skipped" in out and "base.run=trial:base" in out
    assert "base-s1 is broken" in leadline("sweep", "logs", "runs/try")[1]
    assert leadline("sweep", "logs", "s.yaml", "base-s1")[1].endswith("base-s1.log <==\nbase-s1 is broken\n")
    (place / "broken").write_text("")
    status, out, _ = leadline("sweep", "run", "runs/try", "--json")
    assert status == 0 and json.loads(out)["states"] == {
        "base-s0": "there", "after-s0": "there", "base-s1": "finished", "after-s1": "finished"}  # fmt: skip


def test_a_dry_run_checks_and_chooses_as_the_real_thing(place, trainer, leadline):
    loaded = sweep.load(definition(trials=TWO))
    trainer(loaded)
    sweep.run(loaded, only="base-s0")
    Path("s.yaml").write_text(yaml.safe_dump(definition(name="second", trials=TWO)))
    dry = ("sweep", "s.yaml", "--dry-run", "--json")
    told = json.loads(leadline(*dry, "--only", "after-s0", "--found", "runs")[1])["trials"]
    assert [(t["trial"], t["seed"], t["state"]) for t in told] == [("base", 0, "found"), ("after", 0, "new")]
    assert told[0]["done"] == "runs/try/base-s0" and not Path("runs/second").exists()
    status, _, err = leadline(*dry, "--on", "cloud")
    assert status == 2 and "no such backend" in err
    status, _, err = leadline(*dry, "--found", "nowhere")
    assert status == 2 and "--found nowhere" in err
    Path("t.csv").unlink()
    status, _, err = leadline(*dry)
    assert status == 2 and "t.csv: No such file" in err


def test_what_is_there_is_never_left_behind(place, trainer):
    loaded = sweep.load(definition(trials=TWO))
    trainer(loaded)
    sweep.run(loaded)
    fewer = sweep.load(definition(trials=TWO, seeds=[0]))
    with pytest.raises(InputError, match=r"runs/try: runs lie there that this definition lacks \(base-s1, after-s1\)"):
        sweep.run(fewer)
    for title in ("base-s1", "after-s1"):
        shutil.rmtree(loaded.trial(title).path)
    assert set(sweep.run(fewer).values()) == {"there"}
    ordinary = sweep.load(definition(name="base-s0"), root="runs/try")
    with pytest.raises(InputError, match="runs/try/base-s0: an ordinary run, not a sweep"):
        sweep.run(ordinary)


def test_a_sweep_is_known_from_inside_and_through_a_link(place, trainer, leadline, monkeypatch):
    loaded = sweep.load(definition(trials=TWO))
    trainer(loaded)
    sweep.run(loaded)
    Path("link").symlink_to("runs/try")
    monkeypatch.setattr(launch, "train_command", lambda *_: ("/bin/sh", "-c", "exit 1"))
    assert set(sweep.run(sweep.load("link")).values()) == {"there"}
    assert (sweep.load("link").name, sweep.load("link").path) == ("try", Path("link"))
    monkeypatch.chdir("runs/try")
    status, out, _ = leadline("sweep", "status", ".")
    assert status == 0 and out.startswith("try: 4 trials") and "4 finished" in out


def test_what_comes_later_says_so(place, leadline):
    for verb in ("script", "data"):
        status, _, err = leadline("sweep", verb, "x")
        assert status == 2 and err.count("\n") == 1 and "comes with a later version" in err


def test_the_summary_is_printed(measured, leadline):
    status, out, _ = leadline("sweep", "summary", measured.path)
    assert status == 0 and "minus base [95 %]" in out and "examples/s" in out and "17 of 18" in out
    status, out, _ = leadline("sweep", "summary", measured.path, "--json", "--metric", "nll")
    told = json.loads(out)
    assert told["averages"][0]["mean"] is None and set(told) == {
        "sweep",
        "split",
        "metrics",
        "against",
        "trials",
        "averages",
        "notes",
    }


def test_a_verb_that_is_none_and_an_interruption(place, trainer, leadline, monkeypatch):
    status, _, err = leadline("sweep", "sumary", "runs/x")
    assert status == 2
    status, _, err = leadline("sweep", "sumary")
    assert status == 2 and "sumary: no such sweep file or directory. Did you mean `summary`?" in err
    trainer(sweep.load(definition(trials=TWO)))
    Path("s.yaml").write_text(yaml.safe_dump(definition(trials=TWO)))
    monkeypatch.setattr(launch, "train_command", lambda *_: ("/bin/sh", "-c", "exit 130"))
    assert leadline("sweep", "s.yaml", "--only", "base-s0")[0] == 130
    assert leadline("sweep", "status", "s.yaml", "--only", "base-s0")[1].count("unfinished") == 2


def test_jobs_are_for_seeds(place, leadline):
    status, _, err = leadline("train", "a.csv", "--jobs", 2)
    assert status == 2 and "--jobs 2: only with --seeds" in err


def test_the_help_of_the_group_shows_how_a_file_is_run(leadline):
    status, out, _ = leadline("sweep", "--help")
    assert status == 0 and "--dry-run" in out and "summary" in out and "leadline sweep SWEEP.yaml" in out
    assert "--against" in leadline("sweep", "summary", "--help")[1]


# With real trainings


def finished(run):
    file = run / "metrics.jsonl"
    return file.is_file() and '"event": "end"' in file.read_text()


def contents(run):
    return {
        file.relative_to(run): (file.stat().st_mtime_ns, file.read_bytes()) for file in run.rglob("*") if file.is_file()
    }


def test_seeds_killed_half_way_and_started_again_compute_only_what_is_missing(tmp_path, tiny_csv):
    data = tiny_csv(60)
    command = [sys.executable, "-m", "leadline", "train", data, "--model", "tiny", "--epochs", "1", "--id", "id",
               "--max-length", "16", "--seeds", "2", "--seed", "3", "--json"]  # fmt: skip
    first, second = (tmp_path / "runs" / "tiny-tiny-seeds" / f"tiny-tiny-s{seed}" for seed in (3, 4))
    log = tmp_path / "runs" / "tiny-tiny-seeds" / ".sweep" / "tiny-tiny-s4.log"
    process = subprocess.Popen(command, cwd=tmp_path, process_group=0, stderr=subprocess.DEVNULL)
    try:
        until(lambda: launch.held(log) or process.poll() is not None)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    until(lambda: not launch.held(log))
    assert finished(first) and not finished(second)
    before = contents(first)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["states"] == {"tiny-tiny-s3": "there", "tiny-tiny-s4": "finished"} and contents(first) == before
    assert finished(second) and [row["seed"] for row in told["trials"]] == [3, 4] and told["split"] == "validation"
    assert told["averages"][0]["n"] == 2 and told["averages"][0]["trial"] == "tiny-tiny"
    loaded = sweep.load(tmp_path / "runs" / "tiny-tiny-seeds")
    assert loaded.trials[0].recipe.data.seed == 0
    # the key by which a trial is skipped is the one that its run noted
    assert [noted(t.path) for t in loaded.trials] == [Keys().of(t.recipe) for t in loaded.trials]


def test_more_seeds_add_to_a_sweep_and_another_recipe_takes_the_next_name(place):
    from leadline import recipe as recipes

    recipe = recipes.load({"data": {"train": "a.csv"}, "model": "tiny"})
    first = sweep.over(recipe, 2)
    assert first.path == Path("runs/a-tiny-seeds") and [t.seed for t in first.trials] == [0, 1]
    for trial in first.trials:
        make_run(trial)
    (first.path / "sweep.yaml").write_text(yaml.safe_dump(dict(first.document)))
    assert sweep.over(recipe, 5).path == first.path and len(sweep.over(recipe, 1)) == 2
    later = recipe.model_copy(update={"training": recipe.training.model_copy(update={"seed": 5})})
    assert [t.seed for t in sweep.over(later, 2).trials] == [0, 1, 5, 6]  # those that are there stay
    assert [t.seed for t in sweep.over(later, 1, "a-tiny-seeds").trials] == [5]  # of another name: none of ours
    other = recipes.load({"data": {"train": "a.csv"}, "model": "tiny", "training": {"epochs": 1, "seed": 4}})
    assert sweep.over(other, 2).path == Path("runs/a-tiny-seeds-2") and sweep.over(other, 2).trials[0].seed == 4
    Path("a.csv").write_text("text,label\nother,data\n")
    assert sweep.over(recipe, 2).path == Path("runs/a-tiny-seeds-2")
    assert [t.path for t in sweep.over(recipe, 1, "mine").trials] == [Path("runs/mine/mine-s0")]
    with pytest.raises(InputError, match="--seeds 0: at least one"):
        sweep.over(recipe, 0)


@pytest.mark.long
def test_a_trial_that_stands_on_another_really_does(tmp_path, tiny_csv):
    recipe = {
        "data": {"train": str(tiny_csv(120)), "id": "id", "validation": 0.25},
        "model": "tiny",
        "training": {"epochs": 2, "max_length": 16},
    }
    noisy = {"base.run": "trial:clean", "data.corrupt": {"rate": 0.2, "kind": "by-confusion"}}
    trials = [{"name": "noisy", "set": noisy}, {"name": "clean"}]
    loaded = sweep.load({"name": "x", "recipe": recipe, "seeds": [0], "trials": trials}, tmp_path / "runs")
    assert sweep.run(loaded) == {"clean-s0": "finished", "noisy-s0": "finished"}
    assert noted(loaded.trials[0].path) == Keys().of(loaded.trials[0].recipe)
    assert set(sweep.run(loaded).values()) == {"there"}
