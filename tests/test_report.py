"""Laws of the report and of the benchmark page: they say what the rows say, need nothing else, and trust no name."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines.idle import IdlePolicy
from baselines.mpc import MpcPolicy
from baselines.oracle import OraclePolicy
from baselines.random import RandomPolicy
from baselines.rule import RulePolicy
from benchmarks.page import shareable, write_page
from data.synthetic import generate
from envs.battery import BatterySystem
from envs.scenario import History, Scenario
from envs.single import SystemEnv
from evaluation import figures
from evaluation.backtest import Run, score, winner
from evaluation.calibration import below
from evaluation.metrics import weekly
from evaluation.pdf import write_pdf
from evaluation.report import write_report
from evaluation.results import TRACES, Results, read_results, write_results
from evaluation.rl_eval import SCHEMA, rl_eval, write_rl_eval
from evaluation.rollout import play
from evaluation.sharing import shared_config, without_folders
from evaluation.statistics import aggregate
from evaluation.store import write_run
from evaluation.summary import reported_split, score_table, splits_of, term_columns, term_table, verdict, whole
from forecasting.deviation import DeviationForecaster
from forecasting.forecast import QUANTILES

ENV = "gridpilot/Battery-v0"
COMMAND = "python evaluate.py data=gb data.path=/home/someone/grid runs=/srv/runs/battery"
HOSTILE = "<img src=x onerror=alert(1)>$x$&\"'|`"
PLAYED = (("idle", 0, IdlePolicy), ("rule", 0, RulePolicy), ("random", 0, RandomPolicy), ("random", 1, RandomPolicy))
FORECASTS = [
    {"split": split, "column": "imbalance_price_gbp_per_mwh", "lead_h": lead_h, "periods": 400, "mean_error": -1.5,
     "mean_absolute_error": 20.0 + lead_h, **{below(q): q for q in QUANTILES}}
    for split in ("validation", "test") for lead_h in (0.0, 1.5, 23.5)
]  # fmt: skip
VOID = {"meta", "link", "br", "img", "hr", "input"}


def origin(**config):
    return {
        "commit": "0123abc",
        "uncommitted_changes": True,
        "config": {"data": {"name": "gb", "path": "/home/someone/grid"}, "env": {"policies": {}}, **config},
        "data_sha256": "f" * 64,
        "python": "3.11.0",
        "versions": {"numpy": "2.4.0", "absent": None},
    }


@pytest.fixture(scope="module")
def runs():
    """Every baseline, one with two seeds, for nine days of each split of synthetic data."""
    forecaster = DeviationForecaster.fit(generate("2023-05-01", "2023-06-01"))
    played = {}
    for split, start, end in (("validation", "2023-06-28", "2023-07-10"), ("test", "2023-12-29", "2024-01-10")):
        env = SystemEnv(BatterySystem(Scenario(History(generate(start, end), forecaster), split, "split")))
        played[split] = [Run(name, seed, play(env, kind.for_env(env), seed)) for name, seed, kind in PLAYED]
        played[split].append(Run("mpc", 0, play(env, MpcPolicy.for_env(env), 0)))
        oracle = OraclePolicy.for_env(env)
        trace = play(env, oracle, 0)
        played[split].append(Run("oracle", 0, trace, oracle.bound_gbp))
    return played


def write(folder, runs, provenance=None, command=COMMAND):
    rows = [row for split, played in runs.items() for row in score(played, ENV, split, "mpc")]
    for split, played in runs.items():
        for run in played:
            write_run(folder / TRACES, split, run)
    policies = [row for split, played in runs.items() for row in aggregate(played, ENV, split, "mpc")]
    robustness = [row | {"split": "price_x3"} for row in rows if row["split"] == "test"]
    skipped = {"heat_wave": "the battery feels no heat"}
    best = winner(rows)["policy"]
    write_results(folder, rows, best, command, provenance or origin(), policies, robustness, FORECASTS, skipped)
    return folder


@pytest.fixture(scope="module")
def folder(runs, tmp_path_factory):
    return write(tmp_path_factory.mktemp("battery-gb"), runs)


@pytest.fixture(scope="module")
def page(folder):
    return write_report(folder).read_text(encoding="utf-8")


class Page(HTMLParser):
    """Tags still open, links, ids, scripts and the tables' cells of a page."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.ids, self.tags, self.tables = [], [], [], set(), []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        values = dict(attrs)
        self.links += [v for k, v in values.items() if k in ("src", "href", "xlink:href", "srcset", "action", "data")]
        self.links += re.findall(r"url\(([^)]*)\)", " ".join(v or "" for v in values.values()))
        self.ids += [values["id"]] if "id" in values else []
        assert not [name for name in values if name.startswith("on")]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += "|" * ("small" in self.open) + data


def lines_of(table):
    """Cells by (policy, seed), each split into number and interval."""
    return {(row[0].split(" ")[0], row[1]): [cell.split("|") for cell in row[2:]] for row in table[1:]}


def shown(value):
    return f"{value:,.0f}".replace("-0", "0" if round(value) == 0 else "-0").replace("-", "\N{MINUS SIGN}")


def test_every_row_stands_in_the_page_with_its_numbers(page, folder):
    parsed = [lines_of(table) for table in Page(page).tables[:2]]
    results = read_results(folder)
    for table, split in zip(parsed, ("validation", "test"), strict=True):
        for row in results.rows[results.rows["split"] == split].to_dict("records"):
            value, share, bound, lead, wear, drawdown, worst, throughput, _, _, p99 = table[
                row["policy"], str(row["seed"])
            ]
            assert value[0] == shown(row["value_gbp"])
            if row["policy"] != "idle":
                assert value[1] == f"{shown(row['value_low_gbp'])} to {shown(row['value_high_gbp'])}"
            assert share[0] == f"{100 * row['capture'] + 0.0:.1f} %".replace("-", "\N{MINUS SIGN}")
            assert lead[0] == ("\N{EM DASH}" if row["policy"] == "mpc" else shown(row["lead_gbp"]))
            assert bound[0] == shown(row["bound_gbp"])
            assert drawdown[0] == shown(row["drawdown_gbp"])
            assert worst[0] == shown(row["worst_weeks_gbp"])
            assert wear[0] == shown(row["wear_gbp"])
            assert throughput[0] == shown(row["battery_throughput_kwh"])
            assert p99[0] == (f"{row['decision_ms_p99']:.2f}" if row["decision_ms_p99"] >= 0.005 else "< 0.01")


def test_the_page_needs_nothing_else_and_is_well_formed(page):
    parsed = Page(page)
    assert parsed.open == []
    assert all(link.startswith("#") or link == "data:," for link in parsed.links)
    assert len(parsed.ids) == len(set(parsed.ids))
    targets = {link[1:] for link in parsed.links if link.startswith("#")}
    assert targets <= set(parsed.ids)
    assert not parsed.tags & {"script", "iframe", "object", "embed", "img"}
    assert "://" not in page
    assert "@import" not in page
    assert len(page.encode()) < 2_000_000


def test_a_picture_takes_the_text_colour_of_the_page(page):
    pictures = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(pictures) == 18  # nine pictures in two widths
    assert all("currentColor" in picture and "#26313b" not in picture for picture in pictures)
    assert not any("#000000" in picture or "#ffffff" in picture for picture in pictures)


def test_a_hostile_policy_name_is_only_text(runs, tmp_path):
    hostile = {
        split: [run._replace(policy=HOSTILE) if run.policy == "rule" else run for run in played]
        for split, played in runs.items()
    }
    folder = write(tmp_path / "results", hostile)
    parsed = Page(write_report(folder).read_text(encoding="utf-8"))
    assert "img" not in parsed.tags
    assert any(row[0].startswith(HOSTILE) for row in parsed.tables[0])
    markdown = write_page(folder, tmp_path).read_text(encoding="utf-8")
    assert "<img" not in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


def test_a_system_without_a_battery_has_no_charge_picture_and_no_cycles(runs, tmp_path):
    telemetry = ["energy_kwh", "charge_fraction", "power_kw"]
    plain = {
        split: [
            run._replace(trace=run.trace.drop(columns=telemetry).rename(columns={"wear_gbp": "sla_gbp"}))
            for run in played
        ]
        for split, played in runs.items()
    }
    folder = write(tmp_path / "results", plain)
    text = write_report(folder).read_text(encoding="utf-8")
    assert "A typical week" not in text
    assert "cycles" not in text
    assert any("sla, GBP" in title for table in Page(text).tables for title in table[0])
    assert "Violations" in text
    assert len(list((write_page(folder, tmp_path).parent / "benchmark").glob("*.png"))) == 3


def test_idle_the_reference_and_the_oracle_are_enough(runs, tmp_path):
    few = {split: [run for run in played if run.policy in ("idle", "mpc", "oracle")] for split, played in runs.items()}
    results = read_results(write(tmp_path, few))
    assert len(Page(write_report(tmp_path).read_text(encoding="utf-8")).tables[0]) == 4
    assert "no rival" in verdict(results, "test")


def test_validation_alone_is_enough(runs, tmp_path):
    text = write_report(write(tmp_path, {"validation": runs["validation"]})).read_text(encoding="utf-8")
    assert not any("test" in region for region in re.findall(r'aria-label="(?:Scores|Money)[^"]*"', text))


def test_a_walk_forward_that_leaves_out_the_winner_is_told_and_validation_reported(runs, tmp_path):
    (mpc,) = (run for run in runs["validation"] if run.policy == "mpc")
    better = mpc._replace(policy="learnt", trace=mpc.trace.assign(reward_gbp=mpc.trace["reward_gbp"] + 1e-3))
    write(tmp_path, {"walk_forward": runs["test"], "validation": [*runs["validation"], better]})
    results = read_results(tmp_path)
    assert results.winner == "learnt"
    assert splits_of(results) == ["validation", "walk_forward"]
    assert reported_split(results) == "validation"
    parsed = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert len(parsed.tables[0]) > len(runs["test"])
    assert reported_split(read_results(write(tmp_path / "all", runs))) == "test"


def test_without_an_oracle_the_share_is_a_dash(runs, tmp_path):
    blind = {split: [run for run in played if run.policy != "oracle"] for split, played in runs.items()}
    text = write_report(write(tmp_path, blind)).read_text(encoding="utf-8")
    for cells in lines_of(Page(text).tables[0]).values():
        assert cells[1] == ["\N{EM DASH}"]
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL).lower().split()
    assert "no upper bound" in text


def test_several_seeds_stand_under_their_mean(folder):
    results = read_results(folder)
    for split in splits_of(results):
        table = score_table(results, split)
        block = [line for line in table.lines if line.policy == "random"]
        assert [line.seed for line in block] == ["mean of 2", "0", "1"]
        rows = results.rows[(results.rows["split"] == split) & (results.rows["policy"] == "random")]
        assert block[0].cells[0].text == shown(rows["value_gbp"].mean())
        assert block[0].cells[3].text == shown(rows["lead_gbp"].mean())
        assert block[0].cells[4].text == shown(rows["wear_gbp"].mean())


def test_money_terms_add_up_to_the_value(folder):
    results = read_results(folder)
    terms = term_columns(results)
    for split in splits_of(results):
        rows = results.rows[results.rows["split"] == split]
        np.testing.assert_allclose(rows[terms].sum(axis=1), rows["value_gbp"], atol=1e-6)
        assert len(term_table(results, split).lines) == len(score_table(results, split).lines)


def made_up(leads):
    """Rows of two policies and a winner with given (lead, low, high)."""
    rows = [
        {"policy": "ppo", "split": "validation", "seed": 0, "reference": "mpc", "value_gbp": 10.0, "lead_gbp": leads[0],
         "lead_low_gbp": leads[1], "lead_high_gbp": leads[2]},
        {"policy": "mpc", "split": "validation", "seed": 0, "reference": "mpc", "value_gbp": 9.0, "lead_gbp": 0.0,
         "lead_low_gbp": 0.0, "lead_high_gbp": 0.0},
    ]  # fmt: skip
    return Results(pd.DataFrame(rows), {}, "ppo", "", {})


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3).map(sorted))
def test_a_lead_is_claimed_only_when_its_interval_leaves_zero_out(numbers):
    low, lead, high = numbers
    text = verdict(made_up((lead, low, high)), "validation")
    assert ("is ahead of" in text) == (low > 0.0)
    assert ("is behind" in text) == (high < 0.0)
    assert ("cannot be told apart" in text) == (low <= 0.0 <= high)


@given(st.floats(-1e9, 1e9))
def test_money_reads_back_as_it_was_rounded(value):
    text = whole(value)
    assert float(text.replace(",", "").replace("\N{MINUS SIGN}", "-")) == round(value)
    assert text != "\N{MINUS SIGN}0"
    assert whole(float("nan")) == "\N{EM DASH}"


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=9))
def test_the_typical_week_has_as_many_worse_as_better_weeks(weeks_gbp):
    periods = 336
    index = pd.date_range("2024-01-01", periods=periods * len(weeks_gbp) + 5, freq="30min", tz="UTC")
    reward_gbp = np.append(np.repeat(np.array(weeks_gbp) / periods, periods), np.full(5, 1e6))
    trace = pd.DataFrame({"reward_gbp": reward_gbp, "charge_fraction": 0.5, "x_price_gbp_per_mwh": 1.0}, index=index)
    row = {"policy": "oracle", "split": "test", "seed": 0, "value_gbp": 1.0}
    results = Results(pd.DataFrame([row]), {("oracle", "test", 0): trace}, "oracle", "", {})
    typical = figures.typical_week(results)
    earned = weekly(trace)[:-1]  # the last block is not a whole week
    chosen = earned[typical.rows.start // periods]
    tolerance = 1e-6
    assert (earned < chosen - tolerance).sum() <= (len(earned) - 1) // 2
    assert (earned > chosen + tolerance).sum() <= len(earned) // 2


def test_the_benchmark_page_says_what_the_rows_say_and_nothing_of_the_machine(folder, tmp_path):
    page = write_page(folder, tmp_path)
    text = page.read_text(encoding="utf-8")
    assert "data.path=<folder>" in text
    assert "someone" not in text
    assert "/srv" not in text
    assert str(folder) not in text
    assert str(Path.cwd()) not in text
    results = read_results(folder)
    for row in results.rows.to_dict("records"):
        assert f"| {shown(row['value_gbp'])}" in text
    for split in splits_of(results):
        assert verdict(results, split) in text
    pictures = list((tmp_path / "benchmark").iterdir())
    assert len(pictures) == 4
    assert all(f"(benchmark/{file.name})" in text and file.stat().st_size < 100_000 for file in pictures)
    again = page.read_bytes(), [file.read_bytes() for file in pictures]
    write_page(folder, tmp_path)
    assert again == (page.read_bytes(), [file.read_bytes() for file in pictures])


def test_other_forecasts_stand_below_with_commands_that_train_on_them(folder, runs, tmp_path):
    fixed = {name: {} for name in ("idle", "random", "mpc", "oracle")}
    boosted = {"_target_": "forecasting.boosted.BoostedForecaster.fit"}
    told = "forecaster=boosted +forecaster.quantile_rounds=1 refit_months=6"
    command = f"python evaluate.py {told} '~env.policies.ema' env.reference=mpc env.levels=5 name=battery-gb-boosted"
    provenance = origin(forecaster=boosted, refit_months=6, env={"policies": fixed})
    other = write(tmp_path / "battery-gb-boosted", runs, provenance, command)
    alone = write_page(folder, tmp_path).read_text(encoding="utf-8")
    both = write_page(folder, tmp_path, [other]).read_text(encoding="utf-8")
    assert set(alone.splitlines()) <= {*both.splitlines(), f"python -m benchmarks.page reports/{folder.name}"}
    assert "## The same with the forecaster boosted, refitted every 6 months" in both
    assert both.count("| **") == 2 * alone.count("| **")
    assert f"python train.py agent=rule {told} env.levels=5 seed=0\n{command}\n" in both
    assert f"python -m benchmarks.page reports/{folder.name} reports/battery-gb-boosted" in both


@pytest.mark.parametrize(
    "word",
    [
        "data.path=/a/b",
        "data.path=grid",
        "runs=/a",
        "/a/b",
        "+data.table={path:/a}",
        "data.path='/a b'",
        "~/x",
        r"x=C:\a",
    ],
)
def test_a_folder_of_the_machine_is_not_shared(word):
    assert shareable(f"python evaluate.py {word.replace(chr(92), chr(92) * 2)}")[2].endswith("<folder>")


def test_other_options_are_shared_as_they_are():
    options = ["env=battery", "site.battery.capacity_kwh=2e3", "splits=[validation,test]", "agent=ppo/small"]
    assert [word.strip("'") for word in shareable("python evaluate.py " + " ".join(options))[2:]] == options


def test_a_folder_without_results_says_how_to_make_them(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"python evaluate\.py"):
        write_report(tmp_path)


def test_the_page_tells_no_folder_of_the_machine(page):
    assert "/home/someone" not in page
    assert "/srv" not in page
    assert "&lt;folder&gt;/grid" in page
    assert "data=gb" in page


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("/srv/grid/gb", "<folder>/gb"),
        ("../shared/data/gb", "../shared/data/gb"),
        ("data/gb", "data/gb"),
        ("~/grid", "<folder>/grid"),
        ("C:\\grid\\gb", "<folder>/gb"),
        ("x={path:/a/b,other:1}", "x={path:<folder>/b,other:1}"),
        ("gridpilot/Battery-v0 and https://example.org/page", "gridpilot/Battery-v0 and https://example.org/page"),
        ("half / half", "half / half"),
        (3, 3),
        (None, None),
    ],
)
def test_only_absolute_paths_are_cut(given, told):
    assert shared_config({"a": [given, {"b": given}]}) == {"a": [told, {"b": told}]}
    if isinstance(given, str):
        assert without_folders(without_folders(given)) == told


def test_every_table_and_picture_says_where_its_numbers_stand(page, folder):
    figures_shown = re.findall(r"<figure>.*?</figure>", page, flags=re.DOTALL)
    assert all('class="source"' in figure for figure in figures_shown)
    named = set(re.findall(r"<code>(\w+\.csv)", page))
    assert named == {"results.csv", "policies.csv", "robustness.csv", "forecasts.csv"}
    assert all((folder / name).is_file() for name in named)


def test_statistics_violations_cases_and_forecasts_say_what_their_rows_say(page, folder):
    results = read_results(folder)
    tables = {table[0][0]: table for table in Page(page).tables if table[0][0] in ("case", "split")}
    shares = tables["case"][1][1:]
    names = tables["case"][0][1:]
    for name, text in zip(names, shares, strict=True):
        rows = results.robustness[results.robustness["policy"] == name]
        assert text.split("|")[0] == f"{100 * rows['capture'].mean() + 0.0:.1f} %".replace("-", "\N{MINUS SIGN}")
    assert "Not played: heat wave, because the battery feels no heat." in page
    assert tables["split"][1][:3] == ["validation", "0", "20"]
    assert tables["split"][1][4:7] == ["50.0 %", "80.0 %", "90.0 %"]
    assert "Violations" not in page  # a battery has none
    iqm = [table for table in Page(page).tables if "interquartile mean" in table[0]]
    assert len(iqm) == 2
    for row in results.policies[results.policies["split"] == "test"].to_dict("records"):
        shown_row = next(line for line in iqm[1] if line[0].split(" ")[0] == row["policy"])
        assert shown_row[3].split("|")[0] == f"{100 * row['iqm'] + 0.0:.1f} %".replace("-", "\N{MINUS SIGN}")


def test_rl_eval_follows_its_schema_and_repeats_the_rows(folder, tmp_path):
    results = read_results(folder)
    write_rl_eval(results, tmp_path / "one.json", tmp_path / "two.json")
    written = json.loads((tmp_path / "one.json").read_text())
    assert written == rl_eval(results) == json.loads((tmp_path / "two.json").read_text())
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(written, schema)
    assert "someone" not in json.dumps(written)
    entries = {(one["policy"], one["split"]): one for one in written["policies"]}
    assert len(entries) == len(set(results.rows["policy"])) * 2
    for row in results.rows.to_dict("records"):
        entry = entries[row["policy"], row["split"]]
        assert row["seed"] in entry["seeds"]
        if len(entry["seeds"]) == 1:
            assert entry["value_gbp"]["estimate"] == pytest.approx(row["value_gbp"])
            assert sum(entry["terms_gbp"].values()) == pytest.approx(row["value_gbp"])
    assert entries["idle", "test"]["interquartile_mean"] is None
    broken = written | {"policies": [entries["mpc", "test"] | {"value_gbp": "much"}]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, schema)


def test_without_a_browser_the_pdf_says_what_to_do(folder, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", "/nowhere/chromium")
    with pytest.raises(FileNotFoundError, match="BROWSER_PATH"):
        write_pdf(folder / "report.html")


def test_the_report_prints_to_a_pdf(folder, page):
    try:
        file = write_pdf(folder / "report.html")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    assert page
    assert file.read_bytes().startswith(b"%PDF-")
    assert file.stat().st_size > 20_000
