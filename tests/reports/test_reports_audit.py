"""What an audit says of made-up networks: figures, verdict, alarm, tables, pictures."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from rich.console import Console

from vitsearch.reports.facts.agreement import kendall_tau_b, spearman_rho
from vitsearch.reports.facts.audit import AuditedNetwork, audit_facts
from vitsearch.reports.page.audit_section import audit_section
from vitsearch.reports.page.page import Page, render
from vitsearch.reports.pictures.audit import write_plots
from vitsearch.reports.terminal.audit_tables import audit_lines, audit_tables
from vitsearch.reports.words.audit import ALARM, alarm, verdict
from vitsearch.spaces import Architecture

SEARCHES = [
    {"seed": 0, "evolution": (0.5, 0.5, 0.7), "random": (0.5, 0.6, 0.6)},
    {"seed": 4, "evolution": (0.4, 0.6), "random": (0.4, 0.65)},
]


def network(
    number: int, inherited: float, *alone: float, macs: int | None = None, test: float | None = None
) -> AuditedNetwork:
    return AuditedNetwork(
        architecture=Architecture({"number": number}),
        macs=1_000_000 * (number + 1) if macs is None else macs,
        params=1000 * (number % 3),
        inherited=inherited,
        alone=alone,
        alone_on_test=() if test is None else (test,) * len(alone),
    )


def facts_of(networks: list[AuditedNetwork], **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "num_images": 400,
        "seeds": list(range(len(networks[0].alone))),
        "ends": {"smallest": 0.5, "largest": 0.8},
        "samples": 300,
    }
    return audit_facts(networks, **(given | more))


def ten(
    inherited: list[float] | None = None, alone: list[float] | None = None
) -> list[AuditedNetwork]:
    inherited = inherited or [0.5, 0.52, 0.51, 0.6, 0.58, 0.57, 0.61, 0.7, 0.66, 0.65]
    alone = alone or [0.71, 0.7, 0.69, 0.74, 0.78, 0.77, 0.76, 0.8, 0.85, 0.79]
    return [network(i, x, y) for i, (x, y) in enumerate(zip(inherited, alone, strict=True))]


def test_figures() -> None:
    networks = ten()
    facts = facts_of(networks)
    inherited, alone = [n.inherited for n in networks], [n.alone[0] for n in networks]
    macs, params = [n.macs for n in networks], [n.params for n in networks]
    for name, x in (("supernet", inherited), ("macs", macs), ("params", params)):
        found = facts["agreement"][name]
        assert found["kendall_tau_b"]["value"] == pytest.approx(kendall_tau_b(x, alone))
        assert found["spearman_rho"]["value"] == pytest.approx(spearman_rho(x, alone))
        assert found["kendall_tau_b"]["low"] <= found["kendall_tau_b"]["high"]
    supernet = facts["agreement"]["supernet"]["kendall_tau_b"]["value"]
    by_macs = facts["agreement"]["macs"]["kendall_tau_b"]["value"]
    difference = facts["agreement"]["supernet_minus_macs"]["kendall_tau_b"]["value"]
    assert difference == pytest.approx(supernet - by_macs)
    gaps = [b - a for a, b in zip(inherited, alone, strict=True)]
    assert facts["gap"] == pytest.approx(
        {"mean": fmean(gaps), "smallest": min(gaps), "largest": max(gaps)}
    )
    assert facts["ends"] == {"smallest": 0.5, "median": pytest.approx(0.59), "largest": 0.8}
    assert facts["standard_error"] == pytest.approx(
        (fmean(alone) * (1 - fmean(alone)) / 400) ** 0.5
    )
    assert facts["noise_ceiling"] is facts["agreement_on_test"] is facts["searches"] is None
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts


def test_training_free_scores_stand_beside_the_others() -> None:
    networks = ten()
    alone, macs = [n.alone[0] for n in networks], [n.macs for n in networks]
    scores = [-math.inf, 3.0, 1.0, 2.0, 7.0, 5.0, 6.0, 9.0, 8.0, 8.5]
    scored = [
        replace(n, training_free={"naswot": x, "flat": 1.0})
        for n, x in zip(networks, scores, strict=True)
    ]
    titles = {"naswot": "NASWOT", "flat": "a constant"}
    facts = facts_of(scored, titles=titles)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    plain = facts_of(networks)
    assert plain["agreement"]["training_free"] == {}
    for name in ("supernet", "macs", "params", "supernet_minus_macs", "chance"):
        assert facts["agreement"][name] == plain["agreement"][name]
    row = facts["agreement"]["training_free"]["naswot"]
    assert row["title"] == "NASWOT"
    assert row["kendall_tau_b"]["value"] == pytest.approx(kendall_tau_b(scores, alone))
    xy, xz, yz = (kendall_tau_b(*two) for two in ((scores, alone), (scores, macs), (alone, macs)))
    partial = (xy - xz * yz) / ((1 - xz**2) * (1 - yz**2)) ** 0.5
    assert row["partial_kendall_tau"]["value"] == pytest.approx(partial)
    assert "partial_kendall_tau" not in facts["agreement"]["macs"]
    assert "partial_kendall_tau" in facts["agreement"]["params"]
    flat = facts["agreement"]["training_free"]["flat"]["partial_kendall_tau"]
    assert flat == {"value": None, "low": None, "high": None}
    values = [own["training_free"]["naswot"] for own in facts["architectures"]]
    assert values == [None, *scores[1:]]

    shown = shown_tables(facts)
    section = audit_section(facts, Path("nowhere"))
    html = render(Page(title="", lead="", sections=[section]), {}, "")
    for text in (shown, html):
        for words in (
            "NASWOT, untrained",
            "a constant, untrained",
            "given MACs",
            f"{partial:.2f} [",
        ):
            assert words in text, words


def test_audits_of_earlier_versions_are_shown() -> None:
    facts = facts_of(ten())
    shown = "given MACs" in shown_tables(facts)
    for name in ("supernet", "params"):
        del facts["agreement"][name]["partial_kendall_tau"]
    del facts["agreement"]["training_free"]
    assert shown
    assert "given MACs" not in shown_tables(facts)
    html = render(Page(title="", lead="", sections=[audit_section(facts, Path("nowhere"))]), {}, "")
    assert "given MACs" not in html
    assert "parameters" in html
    assert "another version" not in html


def shown_tables(facts: dict[str, Any]) -> str:
    console = Console(width=200, file=io.StringIO())
    for table in audit_tables(facts):
        console.print(table)
    shown: str = console.file.getvalue()  # type: ignore[attr-defined]
    return shown


def test_of_the_best_k() -> None:
    # Best alone: 8, 7, 9, 4, 5. Best inherited: 7, 8, 9, 6, 3. Most MACs: 9, 8, 7, 6, 5.
    agreement = facts_of(ten())["agreement"]
    assert agreement["supernet"]["precision_at"] == {"2": 1, "3": 1, "5": 3 / 5}
    assert agreement["macs"]["precision_at"] == {"2": 1 / 2, "3": 1, "5": 4 / 5}
    assert agreement["chance"]["precision_at"] == {"2": 0.2, "3": 0.3, "5": 0.5}
    four = facts_of([network(i, 0.1 * i, 0.2 * i) for i in range(4)])["agreement"]
    assert set(four["supernet"]["precision_at"]) == {"1", "3"}


def test_equals_are_ranked_the_cheaper_first() -> None:
    networks = [network(i, 0.5, 0.9 - 0.1 * i) for i in range(8)]
    found = facts_of(networks)["agreement"]["supernet"]
    assert found["precision_at"]["3"] == 1
    assert found["kendall_tau_b"] == {"value": None, "low": None, "high": None}


def test_several_seeds() -> None:
    alone = [(0.5, 0.6, 0.55), (0.6, 0.5, 0.65), (0.7, 0.8, 0.75), (0.8, 0.9, 0.7)]
    networks = [network(i, 0.1 * i, *seeds) for i, seeds in enumerate(alone)]
    facts = facts_of(networks)
    first, second, third = zip(*alone, strict=True)
    pairs = [(first, second), (first, third), (second, third)]
    assert facts["noise_ceiling"]["pairs"] == 3
    assert facts["noise_ceiling"]["kendall_tau_b"] == pytest.approx(
        fmean(kendall_tau_b(a, b) for a, b in pairs)
    )
    assert facts["architectures"][0]["mean_alone_top1"] == pytest.approx(0.55)
    assert "noise ceiling" in "\n".join(audit_lines(facts))


def test_searches() -> None:
    found = facts_of(ten(), searches=SEARCHES)["searches"]
    assert [row["difference"] for row in found["seeds"]] == pytest.approx([0.1, -0.05])
    assert [row["evaluations"] for row in found["seeds"]] == [3, 2]
    assert found["mean_difference"] == pytest.approx(0.025)
    assert (found["evolution_better"], found["random_better"]) == (1, 1)


def test_the_verdict() -> None:
    rising = [0.7 + 0.01 * i for i in range(10)]
    shuffled = [rising[i] for i in (3, 9, 1, 7, 0, 5, 8, 2, 6, 4)]
    assert "better than their MACs do" in verdict(facts_of(ten(shuffled, shuffled)))
    assert "ranks these networks worse" in verdict(facts_of(ten(rising[::-1], rising)))
    assert "no evidence" in verdict(facts_of(ten(rising, rising)))
    assert "no verdict" in verdict(facts_of(ten([0.5] * 10, rising)))


def test_no_alarm_where_larger_is_better() -> None:
    assert alarm(facts_of(ten())) is None
    assert not [line for line in audit_lines(facts_of(ten())) if ALARM in line]


def test_an_alarm_where_larger_is_worse() -> None:
    falling = [0.8 - 0.01 * i for i in range(10)]
    undertrained = alarm(facts_of(ten(inherited=falling)))
    assert undertrained is not None
    assert undertrained.startswith(f"{ALARM} larger networks score worse than smaller ones")
    assert "tau -1.00 [-1.00, -1.00]" in undertrained
    assert "sampler=sandwich" in undertrained
    everywhere = alarm(facts_of(ten(inherited=falling, alone=falling)))
    assert everywhere is not None
    assert "larger networks are worse too" in everywhere
    upside_down = alarm(facts_of(ten(), ends={"smallest": 0.63, "largest": 0.62}))
    assert upside_down is not None
    assert "62.0 %, the smallest 63.0 %" in upside_down
    assert upside_down in audit_lines(facts_of(ten(), ends={"smallest": 0.63, "largest": 0.62}))


def test_tables_show_every_network_and_figure() -> None:
    networks = [network(i, 0.1 * i, 0.12 * i, test=0.11 * i) for i in range(6)]
    facts = facts_of(networks, searches=SEARCHES)
    console = Console(width=160, file=io.StringIO())
    tables = list(audit_tables(facts))
    for table in tables:
        console.print(table)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert len(tables) == 4
    for words in (*(n.digest for n in networks), "60.0 %", "1.00 [", "test split", "+10.0 points"):
        assert words in shown, words


def test_pictures(tmp_path: Path) -> None:
    assert write_plots(facts_of(ten()), tmp_path) == [tmp_path / "agreement.png"]
    constant = facts_of(ten([0.5] * 10), searches=SEARCHES)
    files = write_plots(constant, tmp_path)
    assert [file.name for file in files] == ["agreement.png", "searches.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    assert sorted(tmp_path.iterdir()) == files
