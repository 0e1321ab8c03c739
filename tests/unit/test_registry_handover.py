"""The hand-over file: tonnes that must sum, blocks that must fit, and one line for each thing that does not."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrv.errors import RegistryError
from mrv.registry.aef import build
from mrv.registry.handover import Notification, Part
from mrv.registry.handover_file import against_computed, completed, read, sums
from tests.unit.registry_example import changed, handover


def notification(verified, parts, last=date(2022, 12, 31)):
    return Notification.model_validate(
        {
            "project": "P1", "from": date(2021, 1, 1), "to": last, "revision": 1, "decided": date(2025, 1, 1),
            "verification_report": "r", "verification_body": "b", "verified_on": date(2025, 1, 1),
            "verified": [{"vintage": year, "tco2": tco2} for year, tco2 in verified.items()],
            "part": [dict(zip(("vintage", "side", "holder", "tco2"), part, strict=True)) for part in parts],
        }
    )  # fmt: skip


def test_the_published_split_of_th014_sums():
    parts = handover().notifications[0].parts
    assert [(part.side, part.tco2) for part in parts] == [("JPN", 1009), ("THA", 1008)]


def test_parts_that_do_not_sum_are_refused_with_the_numbers():
    with pytest.raises(RegistryError) as refused:
        handover(("tco2 = 1008", "tco2 = 1009"))
    assert str(refused.value) == (
        "handover.toml: TH014 2021-01-01 to 2021-12-31, vintage 2021: the parts sum to 2,018 tCO2 "
        "(JPN Government of Japan 1,009, THA Example Co., Ltd. 1,009), and 2,017 tCO2 were verified: +1"
    )


@given(
    tonnes=st.lists(st.tuples(st.sampled_from([2021, 2022]), st.integers(0, 10**6)), min_size=1, max_size=8),
    error=st.integers(-3, 3),
)
def test_a_notification_holds_exactly_when_every_vintage_sums(tonnes, error):
    verified = {year: sum(tco2 for of, tco2 in tonnes if of == year) for year in (2021, 2022)}
    verified[2022] += error
    if verified[2022] < 0:
        return
    parts = [(year, "JPN", f"holder {n}", tco2) for n, (year, tco2) in enumerate(tonnes)]
    assert bool(list(sums(notification(verified, parts)))) == (error != 0)


def test_tonnes_cannot_be_moved_from_one_vintage_to_another():
    found = list(sums(notification({2021: 10, 2022: 10}, [(2021, "JPN", "a", 9), (2022, "JPN", "a", 11)])))
    assert [line.rpartition(": ")[2] for line in found] == ["-1", "+1"]


@pytest.mark.parametrize(
    ("verified", "parts", "said"),
    [
        ({2021: 1}, [(2021, "JPN", "a", 1), (2022, "JPN", "a", 1)], "what was verified of 2022 is missing"),
        ({2021: 1, 2022: 0}, [(2021, "JPN", "a", 0), (2021, "JPN", "a", 1)], "a (JPN) has 2 parts; give one"),
        ({2021: 1, 2022: 1}, [(2021, "JPN", "a", 1)], "sum to 0 tCO2 (no part), and 1 tCO2 were verified: -1"),
        ({2020: 0, 2021: 1, 2022: 0}, [(2021, "JPN", "a", 1)], "2020 is no calendar year of the period"),
    ],
)  # fmt: skip
def test_every_vintage_of_the_period_is_accounted_for_once(verified, parts, said):
    assert any(said in line for line in sums(notification(verified, parts)))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("tco2 = 1009", "tco2 = 1009.5", "expected whole tonnes, 0 or more"),
        ("tco2 = 1009", "tco2 = -1009", "expected whole tonnes, 0 or more"),
        ("tco2 = 1009", 'tco2 = "1009"', "expected whole tonnes, 0 or more"),
        ("last_unit = 6009", "last_unit = 6010", "block jpn-2021 has 1,009 ITMOs and 1,010 units"),
        ("THA-1,009-2021", "THA-1,010-2021", "block jpn-2021 has 1,010 ITMOs and 1,009 units"),
        ("THA-1,009-2021", "THA-1,009-21", "is no ITMO identifier"),
        ("last_unit = 6009", "last_unit = 4999", "has 1,009 ITMOs and -1 units"),
        ('block = "jpn-2021"\nat', 'block = "jpn"\nat', "action 1: there is no block jpn"),
        ("year = 2025", "year = 2025\nfirst_id = 2\nlast_id = 1010", "2 to 1010 lies outside block jpn-2021, 1 to"),
        ("year = 2025", "year = 2025\nfirst_id = 9\nlast_id = 8", "9 to 8 lies outside block"),
        ("year = 2025", "year = 2025\nfirst_id = 0", "holding[0].first_id: expected a serial number"),
        ("year = 2025", "year = 2025\nfirst_id = true", "not True"),
        ("year = 2025", 'year = 2025\nfirst_id = ""', "'' is no ITMO identifier"),
        ("2025-11-11T12:00:00+09:00", "2025-11-11", "expected an instant"),
        ("2025-11-11T12:00:00+09:00", "2025-11-11T12:00:00", "has no offset"),
        ('side = "JPN"\nholder = "Government of Japan"\nunit', 'side = "JPN"\nholder = "A"\nunit', "is of A (JPN)"),
        ("decided = ", "decide = ", 'unknown key'),
        ("[submission]", "[submission", "this is not TOML"),
        ("to = 2021-12-31", "to = 2020-12-31", "the first day lies after the last"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_on_one_line(before, after, said):
    with pytest.raises(RegistryError) as refused:
        read(changed((before, after)), "handover.toml")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith("handover.toml: ")


def test_a_file_that_notifies_nothing_is_refused():
    with pytest.raises(RegistryError) as refused:
        read("", "handover.toml")
    assert str(refused.value) == (
        "handover.toml: there is no [[notification]]: say what was verified, and what was notified to whom"
    )


def test_one_mistake_is_told_once():
    with pytest.raises(RegistryError) as refused:
        handover(("vintage = 2021, tco2 = 2017", "vintage = 21, tco2 = 2017"))
    assert str(refused.value) == (
        "handover.toml: notification[0].verified[0].vintage: expected a calendar year such as 2021, not 21"
    )


def test_blocks_are_no_longer_than_the_part_they_were_issued_for():
    more = changed(
        (
            "[[action]]",
            """[[block]]
id = "more"
project = "TH014"
vintage = 2021
side = "JPN"
holder = "Government of Japan"
first_unit = 7000
last_unit = 7000

[[action]]""",
        )
    )
    with pytest.raises(RegistryError, match=r"have 1,010 units, and 1,009 tCO2 were notified: \+1"):
        read(more, "handover.toml")


def test_two_notifications_cannot_share_a_day():
    text = changed(
        (
            "[cad_trust]",
            """[[notification]]
project = "TH014"
from = 2021-12-31
to = 2022-12-31
revision = 1
decided = 2025-10-30
verification_report = "r"
verification_body = "b"
verified_on = 2025-08-01
verified = [{ vintage = 2021, tco2 = 0 }, { vintage = 2022, tco2 = 0 }]
part = [{ vintage = 2021, side = "JPN", holder = "x", tco2 = 0 }]

[cad_trust]""",
        )
    )
    with pytest.raises(RegistryError, match="two notifications of TH014 share days: 2021-12-31 to 2021-12-31"):
        read(text, "handover.toml")


def test_no_more_is_verified_than_was_computed_and_less_is_said():
    one = handover().notifications[0]
    assert against_computed(one, {2021: 2017}) == []
    assert against_computed(one, {2021: 2020}) == [
        "TH014 2021-01-01 to 2021-12-31, vintage 2021: 2,017 tCO2 were verified; revision 1 has 2,020: -3"
    ]
    with pytest.raises(RegistryError, match=r"2,017 tCO2 were verified, and revision 1 has 2,016: \+1"):
        against_computed(one, {2021: 2016})
    with pytest.raises(RegistryError, match="revision 1 has 0"):
        against_computed(one, {2022: 2017})


def test_a_block_that_begins_after_its_end_is_refused():
    with pytest.raises(RegistryError, match="block jpn-2021 begins after its end"):
        handover(
            ("last_unit = 6009", "last_unit = 5000"),
            ('last_id = "CA0001-THA01-THA-1,009-2021"', "last_id = 1"),
            ("THA-1-2021", "THA-2-2021"),
        )


def test_a_block_and_a_vintage_are_there_once():
    text = changed()
    block = text[text.index("[[block]]") : text.index("[[action]]")]
    with pytest.raises(RegistryError, match="block jpn-2021 is there 2 times"):
        read(text.replace(block, block * 2), "handover.toml")
    with pytest.raises(RegistryError, match="a vintage was verified twice"):
        handover(("tco2 = 2017 }]", "tco2 = 1 }, { vintage = 2021, tco2 = 2017 }]"))


KEY = ("TH014", date(2021, 1, 1), date(2021, 12, 31), 1)
NOTIFIED = (
    Part(vintage=2021, side="JPN", holder="Government of Japan", tco2=1009),
    Part(vintage=2021, side="THA", holder="Example Co., Ltd.", tco2=1008),
)


def without_parts():
    text = changed()
    start, end = text.index("verified = ["), text.index("[[block]]")
    return read(text[:start] + text[end:], "handover.toml")


def test_a_file_without_parts_takes_those_that_were_notified():
    assert completed(without_parts(), {KEY: NOTIFIED}) == handover()
    # In the order in which they were notified, whatever the file's is.
    assert completed(handover(), {KEY: tuple(reversed(NOTIFIED))}) == handover()
    assert completed(handover(), {}) == handover()


def test_without_parts_anywhere_it_is_refused():
    with pytest.raises(RegistryError, match="revision 1 was not notified here"):
        completed(without_parts(), {})
    # A notification of another revision is another one.
    with pytest.raises(RegistryError, match="revision 1 was not notified here"):
        completed(without_parts(), {(*KEY[:3], 2): NOTIFIED})


@pytest.mark.parametrize(
    ("notified", "said"),
    [
        (NOTIFIED[:1], "the file gives Example Co., Ltd. (THA) 1,008 tCO2, and nothing was notified"),
        (
            (*NOTIFIED, Part(vintage=2021, side="JPN", holder="C", tco2=0)),
            "the file gives C (JPN) nothing, and 0 tCO2 was notified",
        ),
        (
            (NOTIFIED[0].model_copy(update={"tco2": 1010}), NOTIFIED[1]),
            "gives Government of Japan (JPN) 1,009 tCO2, and 1,010 tCO2 was notified",
        ),
    ],
)
def test_a_file_with_other_parts_than_notified_is_refused_with_the_numbers(notified, said):
    with pytest.raises(RegistryError) as refused:
        completed(handover(), {KEY: notified})
    assert said in str(refused.value)


def test_blocks_are_held_against_notified_parts_too():
    small = (NOTIFIED[0].model_copy(update={"tco2": 1008}), NOTIFIED[1].model_copy(update={"tco2": 1009}))
    with pytest.raises(RegistryError, match=r"have 1,009 units, and 1,008 tCO2 were notified: \+1"):
        completed(without_parts(), {KEY: small})


def test_what_was_not_chosen_is_left_out():
    whole = handover()
    assert whole.only(whole.notifications) == whole
    none = whole.only([])
    assert [len(part) for part in (none.blocks, none.actions, none.holdings, none.authorizations)] == [0, 0, 0, 0]


def test_of_two_projects_each_has_its_own_rows():
    text = changed()
    of_project = text[text.index("[[notification]]") : text.index("[cad_trust]")]
    other = of_project.replace("TH014", "TH015").replace("jpn-2021", "other").replace("TH-2025-001", "TH-2025-002")
    # The serial numbers after those of the first block.
    other = other.replace("THA-1-2021", "THA-1010-2021").replace("THA-1,009-2021", "THA-2018-2021")
    authorization = text[text.index("[[authorization]]") : text.index("[[entity]]")]
    second = authorization.replace("TH-2025-001", "TH-2025-002") + "quantity = 2017\n"
    both = read(text.replace("[cad_trust]", f"{other}{second}[cad_trust]"), "handover.toml")
    kinds = {"TH014": "solar PV", "TH015": "hydro"}
    made = build(both, ["TH014", "TH015"], 2025, kinds)
    assert [row["FirstID"] for row in made[3]] == [1, 1010]
    assert [row["ActivityType"] for row in made[2]] == ["Solar", "Hydro"]
    alone = both.only(both.of_project("TH015"))
    made = build(alone, ["TH015"], 2025, kinds)
    assert [(len(rows), rows[0].get("AuthorizationID")) for rows in (made[2], made[3], made[4])] == [
        (1, "TH-2025-002")
    ] * 3
