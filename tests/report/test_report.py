"""The report of a run: complete, honest, safe, and alive in a browser."""

import csv
import html
import json
import re
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import pytest
from browser import visit
from electrode_records import POTENTIAL, electrode_step, metal, structures

from atomsim.analysis.electrode import notes
from atomsim.report import write_report
from atomsim.report.blocks import Chart
from atomsim.report.electrode import comparison_table, structures_table, voltage_table
from atomsim.report.electrode_charts import hull_chart, oxidation_chart, shortest_chart, xrd_chart
from atomsim.report.html import printed_parts, wordy_column
from atomsim.report.mpl_chart import save_figures
from atomsim.report.plotly_chart import plotly_json
from atomsim.report.steps import part_of
from atomsim.store.records import Record

HOSTILE = "Li2RuO3 <script>alert('x')</script> & \"quotes\""
INFO = {
    "name": "delithiation",
    "title": HOSTILE,
    "created": "2026-01-01T00:00:00Z",
    "identity": "0123456789abcdef",
    "potential": POTENTIAL | {"elements": [3, 8, 44]},
    "versions": {"python": "3.11.7", "torch": "2.10.0"},
    "campaign_toml": '[campaign]\nname = "delithiation" # </script><script>alert(1)</script>\n',
}
CHARTS = ("hull", "voltage", "lattice", "layers", "oxygen", "shortest", "moments", "oxidation", "xrd")


@pytest.fixture(scope="module")
def made():
    return electrode_step()


@pytest.fixture(scope="module")
def run(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("a run, with 'spaces' and ünïcode")
    write_report(folder, INFO, made.inputs | {"electrode": made.records})
    return folder


def text_of(folder: Path) -> str:
    """The page without the scripts of plotly and 3Dmol, which are not ours to judge."""
    page = (folder / "report.html").read_text(encoding="utf-8")
    for script in re.findall(r"<script>.*?</script>", page, re.DOTALL):
        page = page.replace(script, "") if len(script) > 400_000 else page
    return page


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "exports" / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("kept", "title", "words"),
    [
        (lambda x: True, "from full to empty", ""),
        (lambda x: x > 0, "to x = 0.5", "No usable structure of the empty host"),
        (lambda x: x < 2, "from x = 1.5", "No usable structure of the full host"),
    ],
)
def test_a_range_without_its_ends_is_not_called_full_to_empty(kept, title, words):
    given = {"relaxed": [r for r in structures() if kept(r.tags["x"])], "metal": [metal()]}
    made = electrode_step(given)
    section = part_of("electrode", made.records).sections[0]
    assert title in section.title
    assert words in section.lead


def test_page_in_a_browser_draws_every_chart_without_a_complaint_or_a_request(run, tmp_path):
    found = visit(run / "report.html", tmp_path)
    assert found.console == []
    for key in CHARTS:
        place = found.dom.index(f'id="chart-electrode-{key}"')
        drawn = found.dom[place : found.dom.index("</figure>", place)]
        assert "main-svg" in drawn
        assert 'class="scatterlayer' in drawn
        assert 'class="trace' in drawn


PRINTED = """<script>
const sizes = () => [...document.querySelectorAll(".chart .main-svg:first-of-type")].map((part) => {
  const box = part.getBoundingClientRect();
  return [box.width, box.height];
});
const look = () => ({ sizes: sizes(), open: [...document.querySelectorAll("details")].map((part) => part.open) });
const seen = { before: look() };
window.dispatchEvent(new Event("beforeprint"));
seen.paper = look();
window.dispatchEvent(new Event("afterprint"));
seen.after = look();
document.body.dataset.seen = JSON.stringify(seen);
</script></body>"""


def test_paper_has_whole_charts_two_to_a_page_and_what_was_folded(run, tmp_path):
    page = tmp_path / "printed.html"
    page.write_text((run / "report.html").read_text(encoding="utf-8").replace("</body>", PRINTED), encoding="utf-8")
    found = visit(page, tmp_path)
    seen = json.loads(html.unescape(re.search('data-seen="([^"]*)"', found.dom)[1]))
    inside_mm, pixel_mm = (210 - 2 * 14, 297 - 2 * 14), 25.4 / 96
    assert len(seen["paper"]["sizes"]) == len(CHARTS)
    for width, height in seen["paper"]["sizes"]:
        assert 0.8 * inside_mm[0] < width * pixel_mm < inside_mm[0]
        assert 2 * height * pixel_mm < 0.8 * inside_mm[1]  # the rest is for headings and captions
    assert all(seen["paper"]["open"])
    assert not any(seen["before"]["open"])
    assert seen["after"] == seen["before"]


def test_a_request_or_an_error_in_the_page_would_be_seen(run, tmp_path):
    page = tmp_path / "page.html"
    additions = '<img src="https://example.org/x.png" alt=""><script>undefinedFunction()</script>'
    page.write_text((run / "report.html").read_text(encoding="utf-8").replace("</main>", f"{additions}</main>"))
    found = visit(page, tmp_path).console
    assert len(found) == 2
    assert any("example.org" in line for line in found)
    assert any("undefinedFunction" in line for line in found)


def test_page_is_one_file_below_six_megabytes(run):
    assert (run / "report.html").stat().st_size < 6_000_000
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', text_of(run))


def test_user_text_is_escaped(run):
    page = text_of(run)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_warnings_come_before_results(run):
    page = text_of(run)
    assert page.index("Structures left out of hull and voltages") < page.index("Formation energy")
    assert "x=1.00-02: max_steps: fmax is 0.21 eV/Å after 500 steps" in page
    assert "Magnetic moments do not settle the oxidation state" in page


def test_headlines_state_capacity_and_convergence(run):
    page = text_of(run)
    assert re.search(r'class="value">164<', page)
    assert re.search(r'class="value">11 of 12<', page)


def test_provenance_is_complete(run):
    page = text_of(run)
    for fact in (POTENTIAL["sha256"], "2.10.0", "0123456789abcdef", "[campaign]", "float32"):
        assert fact in page


def test_figures_are_written_as_png_and_svg(run):
    for key in CHARTS:
        png, svg = (run / "figures" / f"electrode-{key}.{form}" for form in ("png", "svg"))
        assert png.read_bytes().startswith(b"\x89PNG")
        assert "<svg" in svg.read_text(encoding="utf-8")


def test_exports_keep_all_digits(run, made):
    rows = table(run, "electrode-tables-structures.csv")
    computed = {r["label"]: r for r in made.records[0].values["structures"]}
    assert len(rows) == len(computed)
    for row in rows:
        assert float(row["V (Å³/f.u.)"]) == computed[row["Structure"]]["volume_per_fu_A3"]
    peaks = table(run, "electrode-tables-xrd.csv")
    assert {float(p["x"]) for p in peaks} == {0.0, 0.5, 1.0, 1.5, 2.0}


def test_comparison_shows_value_reference_and_deviation(run):
    rows = {r["Quantity"]: r for r in table(run, "electrode-comparison-comparison.csv")}
    capacity = rows["Theoretical capacity, Ru⁴⁺/Ru⁵⁺ (1 e⁻)"]
    assert float(capacity["Computed"]) - float(capacity["Published"]) == pytest.approx(float(capacity["Deviation"]))
    assert "Energy Environ. Sci." in capacity["Source"]


def test_the_same_records_give_the_same_files(run, made, tmp_path):
    write_report(tmp_path, INFO, made.inputs | {"electrode": made.records})
    for path in sorted(p for p in run.rglob("*") if p.is_file()):
        assert path.read_bytes() == (tmp_path / path.relative_to(run)).read_bytes(), path.name


def test_a_campaign_of_relaxations_alone_has_a_report(tmp_path):
    page = write_report(tmp_path, {}, {"metal": [metal()]})
    text = page.read_text(encoding="utf-8")
    assert "Relaxations · metal" in text
    assert "Plotly.newPlot(place" in text  # the script is there, and finds nothing to draw
    assert page.stat().st_size < 700_000  # 3Dmol, carried once, is 540 kB of it
    assert "Voltage" not in text


def test_a_page_without_charts_raises_no_error_in_a_browser(tmp_path):
    page = write_report(tmp_path / "run", {}, {"metal": [metal()], "not-yet-run": []})
    found = visit(page, tmp_path)
    assert found.console == []
    assert "1 of 1" in found.dom


def test_an_unknown_kind_of_step_is_listed_with_its_failures(tmp_path):
    odd = Record(task="t", step="later", kind="barrier", label="hop-1", status="saddle", message="two negative modes")
    text = write_report(tmp_path, {}, {"later": [odd]}).read_text(encoding="utf-8")
    assert "later: 1 of 1 ended as saddle" in text
    assert "two negative modes" in text


def test_elements_outside_the_potential_are_called_out(tmp_path):
    info = INFO | {"potential": POTENTIAL | {"elements": [3, 8]}}
    text = write_report(tmp_path, info, {"relaxed": structures()}).read_text(encoding="utf-8")
    assert "was not made for Ru" in text


def test_a_remark_on_a_good_result_is_shown(tmp_path):
    remarked = replace(metal(), message="could not be checked for a saddle")
    text = write_report(tmp_path, {}, {"metal": [remarked]}).read_text(encoding="utf-8")
    assert "metal: 1 of 1 good with a remark" in text
    assert "could not be checked for a saddle" in text


def test_atoms_on_top_of_each_other_are_called_out(tmp_path):
    record = metal()
    squeezed = dict(record.structure, positions=[[0, 0, 0], [0, 0, 0.9]])
    text = write_report(tmp_path, {}, {"metal": [replace(record, structure=squeezed)]}).read_text(encoding="utf-8")
    assert "metal: suspicious geometry" in text
    assert "Li–Li 0.90 Å" in text


def test_a_hull_without_voltages_is_reported():
    made = electrode_step({"relaxed": structures(), "metal": [metal(status="max_steps")]})
    part = part_of("electrode", made.records)
    drawn = {block.key for section in part.sections for block in section.blocks if isinstance(block, Chart)}
    assert "hull" in drawn
    assert "voltage" not in drawn
    assert "No reference of the metal" in {notice.title for notice in part.notices}


def test_matplotlib_is_left_as_it_was(made, tmp_path):
    before = dict(mpl.rcParams)
    save_figures(hull_chart(made.records[0].values), tmp_path, "hull")
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("radiation", ["CuKa", "MoKa", "CrKa"])
def test_the_layer_reflection_lies_in_the_pattern_whatever_the_wavelength(radiation):
    values = electrode_step(radiation=radiation).records[0].values
    chart = xrd_chart(values)
    assert radiation in chart.x_label  # which the figures carry without the caption
    full = values["structures"][0]
    angle = full["layer"]["two_theta_deg"]
    (pattern,) = [p for p in values["xrd"]["patterns"] if p["label"] == full["label"]]
    assert chart.x_range[0] < angle < chart.x_range[1]
    assert min(abs(line - angle) for line in pattern["two_theta_deg"]) < 0.01


def test_each_metal_has_a_colour_of_its_own_and_is_named_where_it_is_alone(made):
    values = made.records[0].values
    assert "Ru" in oxidation_chart(values).caption
    rows = [r | {"oxidation": r["oxidation"] | {"from_moments": {}}} for r in values["structures"]]
    for r in rows:
        r["shells"] = dict.fromkeys(("Co", "Mn", "Ni"), r["shells"]["Ru"])
        r["oxidation"]["bond_valence"] = {"Co": 3.0, "Mn": 4.0, "Ni": 2.0}
    chart = oxidation_chart(values | {"structures": rows})
    assert len({series.color for series in chart.panels[0].series}) == 4  # and charge balance
    assert "Ru" not in chart.caption


def test_the_table_of_structures_has_every_measured_quantity(run, made):
    rows = table(run, "electrode-tables-structures.csv")
    wanted = made.records[0].values["structures"]
    for row, values in zip(rows, wanted, strict=True):
        assert float(row["α (°)"]) == values["lattice"]["alpha_deg"]
        assert float(row["γ (°)"]) == values["lattice"]["gamma_deg"]
        assert float(row["formation (eV/f.u.)"]) == values["formation_eV_per_fu"]
        assert float(row["slab (Å)"]) + float(row["gap (Å)"]) == pytest.approx(float(row["d layer (Å)"]))
        counts = [float(row[f"O–O lattice{unit}"]) for unit in (" per f.u.", "")]
        assert counts[0] * float(row["f.u. in the cell"]) == pytest.approx(counts[1])


def test_every_column_of_a_wide_table_is_printed_on_paper(made):
    wide = structures_table(made.records[0].values)
    parts = printed_parts(wide)
    assert all(part[0] == 0 and len(part) <= 12 for part in parts)
    assert [n for part in parts for n in part[1:]] == list(range(1, len(wide.columns)))
    assert printed_parts(voltage_table(made.records[0].values)) == []


def test_a_name_that_panels_share_stands_once_in_the_legend(made):
    figure = json.loads(plotly_json(shortest_chart(made.records[0].values)))
    named = [trace["name"] for trace in figure["data"] if trace["showlegend"]]
    assert len(named) == len(set(named)) == 1
    assert sum(trace["name"] == named[0] for trace in figure["data"]) == 2


def test_sentences_in_a_table_get_a_wide_column(made):
    comparison = comparison_table(made.records[0].values)
    wordy = {c.title for n, c in enumerate(comparison.columns) if wordy_column(comparison, n)}
    assert {"Remark", "Source"} <= wordy
    assert not wordy & {"Unit", "Computed", "Deviation"}


def test_a_warning_gives_the_moments_of_the_structures_that_it_counts(made):
    rows = made.records[0].values["structures"]
    inside = [r | {"oxidation": r["oxidation"] | {"from_moments": {}, "moments_muB": {"Ru": 9.9}}} for r in rows[:2]]
    (text,) = [n["text"] for n in notes([*inside, *rows[2:]]) if "outside the spin-only" in n["text"]]
    assert "9.9" not in text
    assert f"{len(rows) - 2} of {len(rows)}" in text
