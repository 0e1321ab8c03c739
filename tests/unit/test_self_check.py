"""What the self-check makes of facts: the rate that is possible, what to change, and what it refuses."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.errors import ConfigurationError
from deploy.settings import load_settings
from ingest.errors import UnsafeSetupError
from ingest.self_check import BrokerFacts, DatabaseFacts, Facts, Risk, judge, report

MOSQUITTO = BrokerFacts(software="mosquitto version 2.0.21", window=4000, session_kept=True, dropped=0)
GOOD = Facts(
    window=4000,
    batch_messages=1000,
    linger_s=0.05,
    version="5",
    session_expiry_s=604_800,
    database=DatabaseFacts(commit_s=0.002),
    broker=MOSQUITTO,
)


def names(facts):
    return [finding.name for finding in judge(facts).findings]


def test_settings_as_shipped_have_nothing_to_change():
    assert judge(GOOD).findings == []
    # 1,000 messages take 25 ms and a flush of 2 ms.
    assert judge(GOOD).messages_per_second == 37_037


def test_a_window_below_two_batches_is_told_with_the_rate_and_the_setting():
    [finding] = judge(replace(GOOD, window=1500)).findings
    assert finding.name == "window_small"
    assert finding.risk is None
    assert "JCM_MRV_MQTT_WINDOW be 2000 or more" in finding.change
    assert "JCM_MRV_BATCH_MESSAGES to 750" in finding.change
    # 1,500 / (0.05 + 0.027) s
    assert judge(replace(GOOD, window=1500)).messages_per_second == 19_481
    assert "19481 messages a second" in finding.cost


def test_mosquittos_default_window_of_20_is_a_few_hundred_messages_a_second_on_mqtt_3():
    facts = replace(GOOD, version="3.1.1", broker=replace(MOSQUITTO, window=20))
    verdict = judge(facts)
    assert verdict.window == 20
    assert 300 < verdict.messages_per_second < 1000
    assert "max_inflight_messages" in verdict.findings[0].change
    assert "JCM_MRV_MQTT_WINDOW" not in verdict.findings[0].change


def test_mosquitto_goes_by_the_window_of_an_mqtt_5_client_and_another_broker_by_the_smaller_one():
    assert judge(replace(GOOD, broker=replace(MOSQUITTO, window=20))).window == 4000
    other = judge(replace(GOOD, broker=replace(MOSQUITTO, software="", window=32)))
    assert other.window == 32
    assert [finding.name for finding in other.findings] == ["window_small"]


def test_a_broker_that_says_nothing_is_taken_at_the_settings_and_the_doubt_is_told():
    verdict = judge(replace(GOOD, broker=BrokerFacts(window=None, session_kept=True)))
    assert (verdict.window, verdict.window_known) == (4000, False)
    assert names(replace(GOOD, broker=None, broker_silence="it refuses")) == ["broker_not_checked"]


@pytest.mark.parametrize(
    ("changed", "risk"),
    [
        ({"broker": replace(MOSQUITTO, maximum_qos=0)}, Risk.QOS_0),
        ({"broker": replace(MOSQUITTO, session_kept=False)}, Risk.SESSION_NOT_KEPT),
        ({"broker": replace(MOSQUITTO, session_expiry_s=0)}, Risk.SESSION_NOT_KEPT),
        ({"broker": replace(MOSQUITTO, session_expiry_s=7200)}, Risk.SESSION_EXPIRY_SHORT),
        ({"database": DatabaseFacts(fsync=False)}, Risk.FSYNC_OFF),
        ({"database": DatabaseFacts(synchronous_commit="off")}, Risk.SYNCHRONOUS_COMMIT_OFF),
        ({"database": DatabaseFacts(full_page_writes=False)}, Risk.FULL_PAGE_WRITES_OFF),
    ],
)
def test_what_loses_data_is_refused_unless_it_is_accepted_by_its_own_name(changed, risk):
    facts = replace(GOOD, **changed)
    with pytest.raises(UnsafeSetupError) as refused:
        report(facts)
    assert f"JCM_MRV_ACCEPT_RISKS={risk}" in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(UnsafeSetupError):
        report(facts, accepted=set(Risk) - {risk})
    report(facts, accepted={risk})


@pytest.mark.parametrize("level", ["local", "remote_write", "remote_apply", "on"])
def test_every_commit_that_waits_for_the_own_disk_is_good(level):
    assert names(replace(GOOD, database=DatabaseFacts(synchronous_commit=level))) == []


def test_a_longer_expiry_than_asked_for_is_no_finding_and_neither_is_an_unknown_session():
    assert names(replace(GOOD, broker=replace(MOSQUITTO, session_expiry_s=604_800))) == []
    assert names(replace(GOOD, broker=replace(MOSQUITTO, session_kept=None))) == []


def test_dropped_publications_are_told_and_not_refused():
    [finding] = judge(replace(GOOD, broker=replace(MOSQUITTO, dropped=7))).findings
    assert (finding.name, finding.risk) == ("broker_dropped", None)
    assert "7 publications" in finding.cost


def test_several_refusals_are_one_line_that_names_all():
    facts = replace(GOOD, database=DatabaseFacts(fsync=False, synchronous_commit="off"))
    with pytest.raises(UnsafeSetupError, match=r"JCM_MRV_ACCEPT_RISKS=fsync_off,synchronous_commit_off$"):
        report(facts)


SIZES = st.integers(1, 65_535)


@given(SIZES, SIZES, st.integers(1, 20_000), st.floats(0, 5), st.floats(0.0001, 1), st.sampled_from(["5", "3.1.1"]))
def test_more_window_or_a_faster_commit_never_lowers_the_rate(own, told, batch, linger_s, flush_s, version):
    facts = Facts(
        own, batch, linger_s, version, 604_800, DatabaseFacts(commit_s=flush_s), BrokerFacts(window=told)
    )  # fmt: skip
    verdict = judge(facts)
    assert verdict.window <= (told if version == "3.1.1" else min(own, told))
    assert verdict.messages_per_second >= 0
    assert ("window_small" in [finding.name for finding in verdict.findings]) == (verdict.window < 2 * batch)
    faster = replace(facts, database=DatabaseFacts(commit_s=flush_s / 2))
    assert judge(faster).messages_per_second >= verdict.messages_per_second
    # With the same batches: twice a window that holds one already.
    if verdict.window >= batch:
        wider = replace(facts, window=2 * own, broker=BrokerFacts(window=2 * told))
        assert judge(wider).messages_per_second >= verdict.messages_per_second


def test_risks_are_given_by_name(monkeypatch):
    monkeypatch.setenv("JCM_MRV_ACCEPT_RISKS", " fsync_off, session_not_kept,")
    assert load_settings().accepted_risks == {Risk.FSYNC_OFF, Risk.SESSION_NOT_KEPT}
    monkeypatch.setenv("JCM_MRV_ACCEPT_RISKS", "fsync")
    with pytest.raises(ConfigurationError, match=r"there is no risk fsync; there are qos_0, session_not_kept"):
        load_settings()
