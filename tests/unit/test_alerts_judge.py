"""What fires on which facts, and what becomes of alerts: pure."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deploy.alerts.config import AlertsFile, parse
from deploy.alerts.facts import Certificate, DeviceFacts, Facts, Overdue, Quarantined, SiteFacts, Volume
from deploy.alerts.judge import Firing, Judgement, clock_skew_s, judge
from deploy.alerts.rules import RULES, Severity
from deploy.alerts.transitions import Open, step

# 12:00 in Bangkok; the sun is high.
NOON = datetime(2026, 3, 1, 5, tzinfo=UTC)
NIGHT = NOON + timedelta(hours=12)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SITE = SiteFacts("s1", "P", 13.7, 100.5, NOON - 30 * DAY, NOON - MINUTE)
DEVICE = DeviceFacts("s1", "P", "inv-1", "inverter", NOON - 30 * DAY, NOON - MINUTE, NOON - MINUTE)
WELL = Facts(NOON, (SITE,), (DEVICE,), last_look=NOON, database_bytes=10**9, volume=Volume(10**12, 10**11 * 5))


def config(text: str = "") -> AlertsFile:
    return parse(text, Path("alerts.toml"))


def fires(facts: Facts, text: str = "", now: datetime | None = None) -> dict[str, str]:
    return {
        f"{rule} {subject}": one.said
        for (rule, subject), one in judge(facts, config(text), now or facts.at).firing.items()
    }


def undecided(facts: Facts, text: str = "") -> set[str]:
    return {f"{rule} {subject}" for rule, subject in judge(facts, config(text), facts.at).undecided}


def silent(
    *, site: timedelta = MINUTE, device: timedelta = MINUTE, at: datetime = NOON, habit=None, **changes
) -> Facts:
    one = replace(SITE, last_received=at - site, **changes)
    two = replace(DEVICE, last_ts=at - device, last_received=at - device, habit=habit)
    return replace(WELL, at=at, sites=(one,), devices=(two,), last_look=at)


def test_nothing_fires_where_all_is_well():
    assert fires(WELL) == {}
    assert fires(Facts(NOON)) == {}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (silent(site=29 * MINUTE), set()),
        (silent(site=31 * MINUTE, device=31 * MINUTE), {"site_silent s1"}),
        # A silent site says it for its devices.
        (silent(site=5 * HOUR, device=5 * HOUR), {"site_silent s1"}),
        (silent(device=61 * MINUTE), {"device_silent s1/inv-1"}),
        (silent(device=59 * MINUTE), set()),
        # By night only what sends by night.
        (silent(site=2 * HOUR, device=2 * HOUR, at=NIGHT), set()),
        (silent(device=2 * HOUR, at=NIGHT), set()),
        (silent(device=2 * HOUR, at=NIGHT, habit=True), {"device_silent s1/inv-1"}),
        (silent(site=2 * HOUR, device=2 * HOUR, at=NIGHT, habit=True), {"site_silent s1"}),
        # Without coordinates by its habits.
        (silent(device=2 * HOUR, latitude=None, longitude=None), set()),
        (silent(device=2 * HOUR, latitude=None, longitude=None, habit=False), set()),
        (silent(device=2 * HOUR, latitude=None, longitude=None, habit=True), {"device_silent s1/inv-1"}),
        # Half an hour after sunrise it may still sleep: the whole hour must be day. Sunrise is at 23:36 UTC.
        (silent(device=12 * HOUR, at=NOON - timedelta(hours=4, minutes=45)), set()),
        (silent(device=12 * HOUR, at=NOON - timedelta(hours=3, minutes=45)), {"device_silent s1/inv-1"}),
        (silent(site=12 * HOUR, device=12 * HOUR, at=NOON - timedelta(hours=4, minutes=45)), set()),
        (silent(site=12 * HOUR, device=12 * HOUR, at=NOON - timedelta(hours=4, minutes=15)), {"site_silent s1"}),
    ],
)
def test_silence(facts, expected):
    assert set(fires(facts)) == expected


@pytest.mark.parametrize("habit", [None, False])
def test_what_cannot_be_told_is_said_so_and_not_called_well(habit):
    night = silent(site=2 * HOUR, device=2 * HOUR, at=NIGHT, habit=habit)
    assert {"site_silent s1", "device_silent s1/inv-1"} <= undecided(night)


def test_a_site_that_was_never_heard_is_silent_once_it_should_have_been():
    never = replace(WELL, sites=(replace(SITE, last_received=None),), devices=())
    assert "never heard" in fires(never)["site_silent s1"]
    fresh = replace(WELL, sites=(replace(SITE, last_received=None, installed_at=NOON - HOUR),), devices=())
    assert fires(fresh) == {}
    unknown = replace(WELL, sites=(replace(SITE, last_received=None, installed_at=None),), devices=())
    assert fires(unknown) == {}


def test_a_device_that_never_read_is_silent_unless_it_is_a_gateway():
    mute = replace(DEVICE, last_ts=None, last_received=None)
    facts = replace(WELL, devices=(mute, replace(mute, device="gw", kind="gateway")))
    assert set(fires(facts)) == {"device_silent s1/inv-1"}


def test_a_gateway_need_not_read_in_daylight():
    facts = silent(device=2 * HOUR)
    gateway = replace(facts.devices[0], kind="gateway")
    assert fires(replace(facts, devices=(gateway,))) == {}
    assert set(fires(replace(facts, devices=(replace(gateway, habit=True),)))) == {"device_silent s1/inv-1"}


def test_nothing_of_any_site_is_the_collector_or_the_broker():
    other = replace(SITE, site="s2", last_received=NOON - 2 * HOUR)
    facts = replace(WELL, sites=(replace(SITE, last_received=NOON - HOUR), other), devices=())
    found = fires(facts)
    assert set(found) == {"collector_away collector", "site_silent s1", "site_silent s2"}
    assert "any of 2 sites for 60 min" in found["collector_away collector"]
    # Of one site alone it cannot be told from the site.
    assert set(fires(replace(facts, sites=facts.sites[:1]))) == {"site_silent s1"}
    assert "collector_away collector" in undecided(replace(facts, sites=facts.sites[:1]))


def test_anomalies_of_the_latest_days():
    days = {date(2026, 2, 26): {"register.reset@1": 1}, date(2026, 2, 27): {"register.normal@1": 20}}
    facts = replace(WELL, devices=(replace(DEVICE, anomalies=days),))
    assert "2026-02-26: reset 1" in fires(facts)["register_anomaly s1/inv-1"]
    assert fires(facts, "[rules.register_anomaly]\ndays = 1\n") == {}
    assert fires(facts, "[rules.register_anomaly]\nat_least = 2\n") == {}
    assert fires(facts, '[rules.register_anomaly]\nrules = ["register.spike@1"]\n') == {}
    # Not computed is not clean.
    assert "register_anomaly s1/inv-1" in undecided(WELL)


def test_quarantine_identity_and_names_that_nobody_declared():
    counted = {"s1": Quarantined(9, NOON - MINUTE), "": Quarantined(10, NOON - MINUTE)}
    facts = replace(WELL, quarantined=counted, unbalanced={"s1": "messages do not add up"})
    found = fires(facts)
    assert set(found) == {"quarantine_rising no site", "identity_broken s1"}
    # Since the first of those entries, not since the window began.
    assert judge(facts, config(), NOON).firing["quarantine_rising", "no site"].since == NOON - MINUTE
    assert set(fires(facts, "[sites.s1.quarantine_rising]\nentries = 9\n")) == {*found, "quarantine_rising s1"}


@pytest.mark.parametrize(
    ("least_s", "most_s", "skew_s"),
    [(0.1, 0.4, 0.0), (-90, 5, 90), (400, 410, -400), (1, 900, 0.0), (3600, 7200, 0.0), (None, None, None)],
)
def test_clocks(least_s, most_s, skew_s):
    device = replace(DEVICE, lag_least_s=least_s, lag_most_s=most_s)
    found = clock_skew_s(device)
    assert found == skew_s or (skew_s == 0 and abs(found) <= 1)
    expected = skew_s is not None and (skew_s > 60 or skew_s < -300)
    assert ("clock_skew s1/inv-1" in fires(replace(WELL, devices=(device,)))) == expected


def test_seals_are_late_where_there_are_seals():
    unsealed = replace(WELL, unsealed_from=NOON - 2 * DAY, seals=True)
    assert set(fires(unsealed)) == {"seal_late seal"}
    assert fires(replace(unsealed, seals=False)) == {}
    # Of today, or of a day that is over since 5 hours.
    assert fires(replace(unsealed, unsealed_from=NOON - HOUR)) == {}
    assert fires(replace(unsealed, unsealed_from=NOON - DAY)) == {}
    assert set(fires(replace(unsealed, unsealed_from=NOON - DAY), now=NOON + 2 * HOUR)) >= {"seal_late seal"}


def test_the_schedule():
    assert set(fires(replace(WELL, last_look=None))) == {"schedule_missed schedule"}
    assert set(fires(replace(WELL, last_look=NOON - 16 * MINUTE))) == {"schedule_missed schedule"}
    overdue = Overdue("energy_day", "s1", 2, NOON - 3 * DAY, "register 7\nis gone")
    [said] = fires(replace(WELL, overdue=(overdue,))).values()
    assert said == "2 days are not computed at s1, the first began on 2026-02-26: register 7 is gone"
    [one] = judge(replace(WELL, overdue=(overdue,)), config(), NOON).firing.values()
    assert one.project == "P"


def test_the_disk():
    assert "disk_filling database" in undecided(WELL)
    limit = "[rules.disk_filling]\ndatabase_limit_bytes = 1_000_000_000\n"
    assert "100%" in fires(WELL, limit)["disk_filling database"]
    assert fires(WELL, limit.replace("1_000", "1_200")) == {}
    assert set(fires(replace(WELL, volume=Volume(10**12, 10**11 - 1)))) == {"disk_filling volume"}
    assert set(fires(replace(WELL, volume=Volume(10**10, 4 * 10**9)))) == {"disk_filling volume"}
    assert "disk_filling volume" in undecided(replace(WELL, volume=None))


def test_certificates_that_end_before_long():
    ends = [
        Certificate("certificate", "s1", NOON - HOUR, "has ended"),
        Certificate("certificate", "s1", NOON + DAY, "soon"),
        Certificate("authority", "", NOON + 13 * DAY, "in 13 days"),
        Certificate("certificate", "s2", NOON + 15 * DAY, ""),
    ]
    found = fires(replace(WELL, certificates=tuple(ends)))
    assert found == {"certificate_ending certificate s1": "has ended", "certificate_ending authority": "in 13 days"}


def test_a_rule_that_is_off_says_nothing_and_a_site_may_differ():
    facts = silent(site=31 * MINUTE, device=31 * MINUTE)
    assert fires(facts, "[rules.site_silent]\noff = true\n") == {}
    assert fires(facts, "[sites.s1.site_silent]\noff = true\n") == {}
    assert fires(facts, "[sites.s1.site_silent]\nafter_s = 3600\n") == {}
    assert fires(facts, "[sites.s2.site_silent]\noff = true\n") != {}
    device = silent(device=2 * HOUR)
    assert fires(device, '[sites."s1/inv-1".device_silent]\nafter_s = 86400\n') == {}
    severe = judge(facts, config('[rules.site_silent]\nseverity = "warning"\n'), NOON).firing
    assert [one.severity for one in severe.values()] == [Severity.WARNING]


RULE, SUBJECT = "site_silent", "s1"
KEY = (RULE, SUBJECT)
FIRING = Firing(RULE, SUBJECT, Severity.CRITICAL, NOON, "silent")


@example([("fires", 1), ("fires", 500), ("well", 100), ("well", 500)], 0, 550)
@example([("fires", 1), ("undecided", 700), ("fires", 1), ("well", 1)], 600, 0)
@given(
    st.lists(st.tuples(st.sampled_from(["fires", "well", "undecided"]), st.integers(1, 900)), max_size=30),
    st.integers(0, 600),
    st.integers(0, 600),
)
def test_an_alert_lives_as_its_rule_says(looks, for_s, keep_s):
    """One open alert at most; it fires after for_s of firing, ends after keep_s of well; undecided changes nothing."""
    settings = config(f"[rules.site_silent]\nfor_s = {for_s}\nkeep_s = {keep_s}\n")
    now, held, fired_at, resolved = NOON, None, [], []
    for what, passed_s in looks:
        now += timedelta(seconds=passed_s)
        judged = Judgement({KEY: FIRING} if what == "fires" else {}, {KEY: "night"} if what == "undecided" else {})
        steps = step([held] if held else [], judged, settings, now)
        before = held
        if what == "undecided":
            assert steps == replace(steps, begun=(), seen=(), fired=(), dropped=(), resolved=())
        if steps.begun:
            assert held is None
            held = Open(1, *KEY, now, now, now if KEY in steps.begun_firing else None)
        for _, _one in steps.seen:
            held = replace(held, last_seen=now)
        if steps.fired:
            assert now - held.first_seen >= timedelta(seconds=for_s)
            held = replace(held, firing_since=now)
        if steps.dropped:
            assert before.firing_since is None
            held = None
        if steps.resolved:
            assert before.firing_since is not None
            assert now - before.last_seen >= timedelta(seconds=keep_s)
            resolved.append(now)
            held = None
        if held and held.firing_since and (not fired_at or fired_at[-1] != held.firing_since):
            fired_at.append(held.firing_since)
    assert len(fired_at) - len(resolved) in (0, 1)
    assert all(fire <= end for fire, end in zip(fired_at, resolved, strict=False))


def test_an_alert_of_a_rule_that_is_no_more_ends():
    held = Open(1, "gone_rule", "x", NOON, NOON, NOON)
    assert step([held], Judgement({}, {}), config(), NOON).resolved == (1,)


def test_each_rule_has_thresholds_of_its_own():
    assert {type(rule.defaults) for rule in RULES.values()} == {type(one) for one in dict(AlertsFile().rules).values()}
    assert list(RULES) == list(dict(AlertsFile().rules))
