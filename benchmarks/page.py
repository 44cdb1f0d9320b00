"""The page of the last run: table and charts in docs/why/performance.md, between two marks; all else is prose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.charts import bars, number

BEGIN, END = "<!-- written by make bench -->\n", "<!-- end of what make bench writes -->\n"


def write(seen: dict[str, Any], docs: Path) -> None:
    """Write ``docs/why/performance/*.svg`` and the part of ``docs/why/performance.md`` between the marks."""
    folder, page = docs / "performance", docs / "performance.md"
    folder.mkdir(exist_ok=True)
    rows = {int(key): entry for key, entry in sorted(seen["rows"].items(), key=lambda item: int(item[0]))}
    for number_, entry in rows.items():
        for unit, figures in _by_unit(entry["figures"]).items():
            title = f"{entry['title'].replace('`', '')} ({unit})"
            (folder / _file(number_, unit)).write_text(bars(title, figures), "utf-8")
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}{_text(seen, rows)}{END}{after}", "utf-8")


def _text(seen: dict[str, Any], rows: dict[int, dict[str, Any]]) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in seen["machine"].items())
    lasted = f" The whole run took {seen['seconds']} s." if "seconds" in seen else ""
    lines = [f"Measured at {seen['at']} on: {machine}.{lasted}", ""]
    lines += [
        "| # | what | figures: median (lowest … highest) | ratio | must | aim | |",
        "|---|---|---|---|---|---|---|",
    ]
    for place, entry in rows.items():
        figures = "<br>".join(_figure(name, figure) for name, figure in entry["figures"].items())
        figures = "<br>".join(filter(None, [figures, *entry["notes"]]))
        targets = entry["targets"]
        ratios = {name: entry["ratios"].get(name) for name in targets}
        lines.append(
            f"| {place} | {entry['title']} | {figures} | {_each(ratios, _ratio)} | {_each(targets, _must)} | "
            f"{_each(targets, lambda target: number(target['aim']))} | {_verdict(targets, ratios)} |"
        )
    lines.append("")
    for place, entry in rows.items():
        lines += [f"![Row {place}](performance/{_file(place, unit)})\n" for unit in _by_unit(entry["figures"])]
    return "\n".join(lines) + "\n"


def _figure(name: str, figure: dict[str, Any]) -> str:
    show = _megabytes if figure["unit"] == "MB" else number
    spread = "" if len(figure["values"]) == 1 else f" ({show(figure['low'])} … {show(figure['high'])})"
    return f"{name}: **{show(figure['median'])}** {figure['unit']}{spread}"


def _megabytes(value: float) -> str:
    return f"{value:,.1f}"  # of hundreds, what is grown by a little is to be seen


def _ratio(ratio: float | None) -> str:
    return "not run" if ratio is None else number(ratio)


def _must(target: dict[str, Any]) -> str:
    return f"{'≤' if target['at_most'] else '≥'} {number(target['must'])}"


def _each(by_name: dict[str, Any], show: Any) -> str:
    return "<br>".join(f"{'' if len(by_name) == 1 else name + ' '}{show(value)}" for name, value in by_name.items())


def _verdict(targets: dict[str, Any], ratios: dict[str, float | None]) -> str:
    verdicts = []
    for name, target in targets.items():
        ratio = ratios[name]
        if ratio is None:
            verdicts.append("not run")
        else:
            holds = ratio <= target["must"] if target["at_most"] else ratio >= target["must"]
            verdicts.append("reached" if holds else "**not reached**")
    return "<br>".join(verdicts)


def _by_unit(figures: dict[str, Any]) -> dict[str, dict[str, Any]]:
    units: dict[str, dict[str, Any]] = {}
    for name, figure in figures.items():
        units.setdefault(figure["unit"], {})[name] = figure
    return units


def _file(place: int, unit: str) -> str:
    letters = "".join(filter(str.isalnum, unit.replace("µ", "u")))
    return f"row-{place}-{letters or 'x'}.svg"
