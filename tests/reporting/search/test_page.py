from pathlib import Path

import numpy as np
from scenes import experiment

from voxray.metrics.differences import Difference
from voxray.reporting.search.page import write_search_report
from voxray.search.comparison import Comparison, Outcome
from voxray.search.constraints import Limits
from voxray.search.plan import Search
from voxray.search.space.load import parse_space
from voxray.search.trials import Goal, Trial

SPACE = {"architecture": [{"type": "T", "activation": None}]}


def search_in(folder: Path) -> Search:
    spec, goal = experiment(folder / "luna", folder / "run"), Goal("recall_at_precision", "loss")
    space = parse_space(SPACE, str(folder / "space.json"))
    return Search(folder / "search", spec, space, goal, 20, 0, "tpe", Limits(), (), (1, 16, 16, 6), 2)


def some_trials() -> dict[int, Trial]:
    rng = np.random.default_rng(0)
    trials = {}
    for number in range(20):
        filters, rate = int(rng.choice([8, 16, 32])), float(10 ** rng.uniform(-4, -2))
        decisions = {"filters": filters, "norm": str(rng.choice(["none", "batch"])), "training.learning_rate": rate}
        if number % 3:
            decisions["stages[1].kernel"] = str(rng.choice(["[3, 3, 3]", "[5, 5, 1]"]))
        epochs = 1 if number % 2 else 6
        reached = [(epoch, filters / 64 + epoch / 20) for epoch in range(1, epochs + 1)]
        rows = [
            {"epoch": epoch, "val_loss": 1 / epoch, "val_recall_at_precision": value, "seconds": 1.0}
            for epoch, value in reached
        ]
        state, reason = ("pruned", "not in the best third after epoch 1") if epochs == 1 else ("finished", "")
        origin = "" if number else "arch3dsm.json"
        settings = {"training.learning_rate": rate}
        trials[number] = Trial(
            number,
            state,
            decisions,
            settings,
            900 * filters + number,
            origin,
            tuple(rows),
            reason,
            2**20 * filters,
            10**6 * filters,
        )
    trials[20] = Trial(20, "failed", {}, {}, 10, reason="epoch 1: the training loss is <nan>")
    return trials


def test_the_page_shows_every_trial_its_charts_and_the_rejected_networks(tmp_path: Path) -> None:
    search = search_in(tmp_path)
    reason = "has 9,000 parameters, more than 8,000"
    rejected = [{"origin": "", "reason": reason, "decisions": {}}, {"origin": "", "reason": reason, "decisions": {}}]
    path = tmp_path / "search" / "report.html"
    trials = some_trials()
    best = search.goal.winner(trials)
    assert best is not None
    difference = Difference(0.125, (0.03, 0.22), 40)
    outcome = Outcome(best, best, None, Comparison(best, trials[0], search.goal.name, difference, 19))
    write_search_report(path, search, trials, rejected, f"voxray train {tmp_path}/a.toml", outcome)
    page = path.read_text()
    for number in range(21):
        assert f'<th scope="row">{number:04d}' in page
    for chart in (
        "pareto-parameters",
        "pareto-memory",
        "pareto-flops",
        "pareto-seconds",
        "curves",
        "importance",
        "parallel",
    ):
        assert f'id="chart-{chart}"' in page
    verdict = f"Trial {best.name} is better than arch3dsm.json beyond chance: recall_at_precision +0.1250"
    assert f"{verdict} (95 % interval +0.0300 to +0.2200, 40 patients, allowing for the best of 19)." in page
    assert "the training loss is &lt;nan&gt;" in page
    assert "more parameters than 8,000" in page
    assert "arch3dsm" in page
    assert "mathdefault" not in page
    assert str(tmp_path) not in page


def test_a_search_without_any_value_has_a_page(tmp_path: Path) -> None:
    search = search_in(tmp_path)
    trials = {0: Trial(0, "failed", {"filters": 8}, {}, 10, reason="out of memory")}
    write_search_report(tmp_path / "report.html", search, trials, [], "", Outcome())
    page = (tmp_path / "report.html").read_text()
    assert "No trial was finished" in page
    assert "out of memory" in page
