"""Sites in a database, as rows, for tests of alerts."""

from datetime import UTC, datetime, timedelta

import psycopg


class World:
    """Sites that sent at this time of day on each of the last days, until they fell silent."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.owner = psycopg.connect(url, autocommit=True)

    def declare(self, site: str, project: str = "P", device: str = "inv-1") -> int:
        self.owner.execute(
            "insert into project (id, title, host_country, methodology, methodology_version, crediting_from,"
            " crediting_to) values (%s, 'T', 'THA', 'TH_AM001', '1.0', '2020-01-01', '2030-12-31')"
            " on conflict do nothing", [project],
        )  # fmt: skip
        self.owner.execute("insert into site values (%s, %s, 'Site', 'UTC') on conflict do nothing", [site, project])
        return self.one(
            "insert into device (site_id, id, project_id, kind, profile) values (%s, %s, %s, 'inverter', 'native')"
            " on conflict (site_id, id) do update set id = excluded.id returning device_id", site, device, project,
        )  # fmt: skip

    def site(self, site: str = "s1", *, silent_for: timedelta, project: str = "P", device: str = "inv-1") -> int:
        number = self.declare(site, project, device)
        now = datetime.now(UTC)
        for ago in (silent_for, timedelta(days=1), timedelta(days=2), timedelta(days=3)):
            self.reading(site, device, now - ago)
        self.heard(site, now - silent_for)
        return number

    def reading(self, site: str, device: str, ts: datetime, lag: timedelta = timedelta(0)) -> None:
        self.owner.execute(
            "insert into reading (device_id, ts, received_at, message_id, element, energy_exported_wh)"
            " select device_id, %s, %s, 1, 0, 1 from device where site_id = %s and id = %s on conflict do nothing",
            [ts, ts + lag, site, device],
        )

    def heard(self, site: str = "s1", at: datetime | None = None, device: str = "inv-1") -> None:
        at = at or datetime.now(UTC)
        # At once, as a collector writes it: between the two, the site would not be silent and its device would.
        with self.owner.transaction():
            self.account(site, "c", at)
            self.reading(site, device, at)

    def account(self, site: str, collector: str, at: datetime, messages: int = 0) -> None:
        self.owner.execute(
            "insert into ingest_account (site_id, collector, messages_received, messages_stored, first_received_at,"
            " last_received_at) values (%s, %s, %s, %s, %s, %s) on conflict (site_id, collector)"
            " do update set last_received_at = excluded.last_received_at",
            [site, collector, messages, messages, at, at],
        )

    def message(self, at: datetime, site: str | None = "s1") -> None:
        self.owner.execute(
            "insert into message (received_at, message_id, arrived_at, topic, payload, sha256, qos, retained,"
            " redelivered, collector, site_id, outcome, readings) values (%s, nextval('message_id_seq'), %s, 't', '',"
            " '', 1, false, false, 'c', %s, 'stored', 1)", [at, at, site],
        )  # fmt: skip

    def seal(self, site: str, day: datetime, messages: int) -> None:
        self.owner.execute("insert into signing_key values ('k', %s) on conflict do nothing", [b"k" * 32])
        self.owner.execute(
            "insert into seal values (%s, %s, %s, '{}', %s, '', 'k', %s, now())",
            [site, day.date(), messages, f"{site} {day}", b"s" * 32],
        )

    def one(self, query: str, *parameters):
        return self.owner.execute(query, parameters).fetchone()[0]
