"""The report as one self-contained page: no script, nothing fetched, light and dark, and it prints."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from html import escape

from mrv.reports import wording
from mrv.reports.particulars import Particulars
from mrv.result import PeriodResult, SystemResult

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1b2420; --soft: #55635c; --line: #c9d3ce; --band: #eef4f1;
  --green: #1f4e3d; --warn: #fff4d1; --warn-line: #d9a400; }
@media (prefers-color-scheme: dark) { :root { --paper: #131816; --ink: #e6ece9; --soft: #9fb0a8; --line: #35413b;
  --band: #1b2320; --green: #8fd0b4; --warn: #332a0c; --warn-line: #b98d10; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 76rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", Arial, sans-serif; }
header p, footer { color: var(--soft); }
h1 { margin: 0; font-size: 1.6rem; line-height: 1.25; }
h2 { margin: 2.5rem 0 .25rem; font-size: 1.15rem; color: var(--green); }
.total { margin: 1.5rem 0 0; padding: 1rem 1.25rem; border: 1px solid var(--line); background: var(--band);
  border-left: .4rem solid var(--green); }
.total strong { font-size: 2.1rem; line-height: 1.1; font-variant-numeric: tabular-nums; }
.total span { display: block; color: var(--soft); }
.warning { margin: 1rem 0 0; padding: .6rem 1rem; background: var(--warn); border-left: .4rem solid var(--warn-line); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin-top: .5rem; font-size: .92rem; }
caption { text-align: left; color: var(--soft); padding: .25rem 0; }
th, td { padding: .4rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th { background: var(--band); border-bottom: 2px solid var(--line); vertical-align: bottom; }
tbody th { font-weight: 600; }
tfoot th, tfoot td { border-top: 2px solid var(--line); font-weight: 700; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.id { white-space: nowrap; }
.mark { background: var(--warn); border-bottom: 2px solid var(--warn-line); padding: 0 .3em; white-space: nowrap; }
code { font: .92em ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: minmax(9rem, auto) 1fr; gap: .3rem 1.5rem; margin: .5rem 0 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 34rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .6rem; } }
@page { size: A4 landscape; margin: 12mm; }
@media print { body { max-width: none; padding: 0; font-size: 11px; } .scroll { overflow: visible; }
  tr { break-inside: avoid; } h2 { break-after: avoid; } }
"""

_NUMBER = ' class="n"'


def render(result: PeriodResult, particulars: Particulars) -> bytes:
    """Write the result as an HTML page in UTF-8; every text of the declaration and of the devices is escaped."""
    title = f"{result.project}: monitoring report {wording.days(result.first_day, result.last_day)}"
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # Nothing may be fetched or run, whatever a device is called.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
        _head(result, particulars),
        "<main>",
        _total(result),
        *(f'<p class="warning" role="note">{escape(note)}</p>' for note in result.notes),
        _vintages(result),
        _systems(result, particulars),
        _devices(result, particulars),
        _meters(result, particulars),
        _invoices(result),
        _rules(result),
        _provenance(result, particulars),
        "</main>\n</body>\n</html>\n",
    ]
    return "\n".join(parts).encode()


def _head(result: PeriodResult, particulars: Particulars) -> str:
    who = [escape(participant) for participant in particulars.participants]
    if particulars.third_party_entity:
        who.append(f"third-party entity: {escape(particulars.third_party_entity)}")
    people = f"<br>\n{'; '.join(who)}" if who else ""
    return (
        f"<header>\n<h1>{escape(result.title)}</h1>\n<p>{escape(result.project)}, {escape(result.host_country)}: "
        f"monitoring report for {wording.days(result.first_day, result.last_day)}<br>\n"
        f"{escape(wording.methodology(result))}{people}</p>\n</header>"
    )


def _total(result: PeriodResult) -> str:
    mwh = sum((vintage.eg_mwh for vintage in result.vintages), Decimal(0))
    revision = escape(f"revision {wording.revision(result)}" if result.revision else wording.revision(result))
    draft = "" if result.revision else '<p class="warning" role="note">Draft: this period is not frozen.</p>'
    return (
        f'<p class="total"><strong>{result.er_tco2:,} tCO2</strong>\n<span>emission reductions (ER_p) from '
        f"{wording.number(mwh)} MWh; {revision}</span></p>\n{draft}"
    )


def _vintages(result: PeriodResult) -> str:
    rows = [
        _row(
            str(vintage.year), wording.days(vintage.first_day, vintage.last_day), vintage.eg_mwh, vintage.re_tco2,
            vintage.pe_tco2, vintage.er_tco2,
        )
        for vintage in result.vintages
    ]  # fmt: skip
    foot = f'<tr><th scope="row" colspan="5">Total</th><td class="n">{result.er_tco2:,}</td></tr>'
    heads = ("Year", "Days", "EG_p (MWh/p)", "RE_p (tCO2/p)", "PE_p (tCO2/p)", "ER_p (tCO2/p)")
    return _section(
        "Emission reductions by calendar year",
        "Whole tonnes per calendar year, rounded down",
        _table_head(heads, numbers=range(2, 6)),
        rows,
        foot,
    )


def _systems(result: PeriodResult, particulars: Particulars) -> str:
    rows = [_system_row(system, year.year, year.eg_mwh, year.re_tco2, particulars)
            for system in result.systems for year in system.years]  # fmt: skip
    heads = ("System", "Site", "Year", "Capacity (kW)", "EG_i,p (MWh/p)", "EF_RE,i (tCO2/MWh)", "RE_i,p (tCO2/p)",
             "Source of the factor")  # fmt: skip
    return _section(
        "PV systems",
        "Monitored ex post, continuously, and the factor fixed ex ante",
        _table_head(heads, numbers=range(3, 7)),
        rows,
    )


def _system_row(system: SystemResult, year: int, eg_mwh: Decimal, re_tco2: Decimal, particulars: Particulars) -> str:
    source = escape(system.factor.source)
    if not system.factor.confirmed:
        source += f' <span class="mark" title="{escape(wording.UNCONFIRMED)}">unconfirmed default</span>'
    site = particulars.site_names.get(system.site, system.site)
    return (
        f'<tr><th scope="row">{escape(system.id)}</th><td>{escape(site)}</td><td>{year}</td>'
        f"<td{_NUMBER}>{wording.number(system.capacity_kw)}</td><td{_NUMBER}>{eg_mwh:,f}</td>"
        f"<td{_NUMBER}>{system.factor.value:f}</td><td{_NUMBER}>{re_tco2:,f}</td>"
        f"<td>{source}<br>{escape(wording.connection(system))}; "
        f"monitoring option {particulars.option(system.id)}</td></tr>"
    )


def _devices(result: PeriodResult, particulars: Particulars) -> str:
    rows = []
    for system in result.systems:
        for device in system.devices:
            accuracy_class = particulars.accuracy_class(device.site, device.id)
            calibration = wording.calibration(particulars.calibrations(device.site, device.id))
            fired = "<br>".join(f"{escape(rule)} × {count:,}" for rule, count in sorted(device.rules.items()) if count)
            rows.append(
                f'<tr><th scope="row" class="id">{escape(device.id)}</th><td>{escape(system.id)}</td>'
                f"<td>{escape(device.kind)}</td><td>{escape(device.serial_number or '–')}</td>"
                f"<td>{escape(accuracy_class or '–')}</td>"
                f"<td>{escape(calibration or 'none declared')}</td><td{_NUMBER}>{device.energy_wh:,f}</td>"
                f'<td class="n">{wording.percent(device.coverage)}</td><td class="id">{fired or "–"}</td></tr>'
            )
    heads = ("Device", "System", "Kind", "Serial number", "Accuracy class", "Calibration", "Energy (Wh)", "Coverage",
             "Rules that fired")  # fmt: skip
    return _section("Credited devices", "Energy over the whole period", _table_head(heads, numbers=range(6, 8)), rows)


def _meters(result: PeriodResult, particulars: Particulars) -> str:
    if not result.meters:
        return ""
    rows = []
    for meter in result.meters:
        lines = [
            f"{span.first_day} to {span.last_day}: {escape(_state(span.state))}"
            + (f", {span.error_percent:f} % taken, {span.taken_wh:,f} Wh" if span.error_percent else "")
            for span in meter.calibration
        ]
        error = "–" if meter.error_percent is None else f"{meter.error_percent:f} % ({escape(meter.error_source)})"
        if "default" in meter.error_source:
            error = f'<span class="mark">{error}</span>'
        done = wording.all_calibrations(particulars.calibrations(meter.site, meter.id)) or "none declared"
        found = "<br>".join(f"{escape(one.message)} <code>{escape(one.rule)}</code>" for one in meter.findings)
        rows.append(
            f'<tr><th scope="row" class="id">{escape(meter.id)}</th><td>{escape(meter.system)}</td>'
            f"<td>{escape(meter.quantity)}</td><td>{escape(meter.serial_number or 'none')}</td>"
            f"<td>{escape(meter.accuracy_class or 'none')}</td><td>{error}</td><td>{escape(done)}</td>"
            f"<td>{'<br>'.join(lines) or 'not held to calibration'}</td>"
            f"<td{_NUMBER}>{meter.metered_wh:,f}</td><td{_NUMBER}>{meter.taken_wh:,f}</td>"
            f"<td{_NUMBER}>{meter.credited_wh:,f}</td><td>{found or 'nothing'}</td></tr>"
        )
    heads = ("Meter", "System", "Counts as", "Serial number", "Accuracy class", "Permissible error", "Calibrations",
             "Days of the period", "Metered (Wh)", "Taken for delay (Wh)", "Credited (Wh)", "Found")  # fmt: skip
    caption = "Calibration on every day of the period; its delay is taken against the credit, register by register"
    return _section("Meters", caption, _table_head(heads, numbers=range(8, 11)), rows)


def _state(state: str) -> str:
    return "calibration valid" if state == "valid" else f"calibration {state}"


def _invoices(result: PeriodResult) -> str:
    if not result.invoices:
        return ""
    rows = []
    for one in result.invoices:
        metered = "not compared" if one.metered_wh is None else f"{one.metered_wh:,f}"
        difference = "–" if one.difference_percent is None else f"{one.difference_percent:+f} %"
        found = "<br>".join(f"{escape(each.message)} <code>{escape(each.rule)}</code>" for each in one.findings)
        rows.append(
            f'<tr><th scope="row">{escape(one.number)}</th><td>{escape(one.issuer)}</td><td>{escape(one.system)}</td>'
            f"<td>{escape(one.quantity)}</td><td>{one.first_day} to {one.last_day}</td>"
            f"<td{_NUMBER}>{one.invoiced_wh:,f}</td><td{_NUMBER}>{metered}</td><td{_NUMBER}>{difference}</td>"
            f"<td{_NUMBER}>{one.applied_wh:,f}</td><td>{found or 'nothing'}</td></tr>"
        )
    heads = ("Invoice", "Issuer", "System", "Counts as", "Billing cycle", "Invoiced (Wh)", "Metered (Wh)", "Difference",
             "Applied (Wh)", "Found")  # fmt: skip
    caption = "Each held against what was metered on its own days"
    return _section("Invoices", caption, _table_head(heads, numbers=range(5, 9)), rows)


def _rules(result: PeriodResult) -> str:
    rows = []
    for rule, count in sorted(result.rules.items()):
        effect, reason = wording.rule_reason(rule)
        rows.append(
            f'<tr><th scope="row"><code>{escape(rule)}</code></th><td{_NUMBER}>{count:,}</td>'
            f"<td>{escape(effect)}</td><td>{escape(reason)}</td></tr>"
        )
    caption = f"How often each rule fired; credited intervals cover {wording.percent(result.coverage)} of the period"
    heads = ("Rule", "Count", "Effect", "What it means")
    return _section("Quality rules", caption, _table_head(heads, numbers=range(1, 2)), rows)


def _provenance(result: PeriodResult, particulars: Particulars) -> str:
    items = "\n".join(
        f"<dt>{escape(label)}</dt><dd>{f'<code>{escape(value)}</code>' if 'digest' in label else escape(value)}</dd>"
        for label, value in wording.provenance(result, particulars)
    )
    return f"<section>\n<h2>Provenance</h2>\n<dl>\n{items}\n</dl>\n</section>"


def _section(heading: str, caption: str, head: str, rows: Sequence[str], foot: str = "") -> str:
    body = "\n".join(rows)
    end = f"\n<tfoot>{foot}</tfoot>" if foot else ""
    return (
        f'<section>\n<h2>{heading}</h2>\n<div class="scroll" tabindex="0" role="region" aria-label="{heading}">\n'
        f"<table>\n<caption>{caption}</caption>\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody>{end}\n"
        "</table>\n</div>\n</section>"
    )


def _table_head(heads: Sequence[str], *, numbers: Iterable[int]) -> str:
    right = set(numbers)
    cells = (f'<th scope="col"{_NUMBER if n in right else ""}>{head}</th>' for n, head in enumerate(heads))
    return f"<tr>{''.join(cells)}</tr>"


def _row(label: str, *values: str | Decimal | int) -> str:
    cells = (
        f"<td>{escape(value)}</td>" if isinstance(value, str) else f"<td{_NUMBER}>{value:,}</td>" for value in values
    )
    return f'<tr><th scope="row">{escape(label)}</th>{"".join(cells)}</tr>'
