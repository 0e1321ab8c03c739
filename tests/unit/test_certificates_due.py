"""What `status` and alerts are told of certificates that end."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.authority import AuthorityFolder
from deploy.certificates_due import certificates_due
from deploy.settings import Settings
from devices.errors import BrokerTlsError

NOW = datetime.now(UTC)


def test_the_first_to_end_is_told_first_and_our_own_is_among_them(tmp_path: Path) -> None:
    authority = AuthorityFolder(tmp_path / "ca")
    authority.issue_client("site-1", days=20)
    authority.issue_client("site-2", days=200)
    own = tmp_path / "own.crt"
    own.write_bytes(authority.issue_client("collector", days=200)[0].certificate)
    settings = Settings(authority_dir=tmp_path / "ca", mqtt_cert_file=own)
    assert [one.name for one in certificates_due(settings, NOW)] == ["site-1"]
    later = NOW + timedelta(days=180)
    assert [one.name for one in certificates_due(settings, later)] == ["site-1", "site-2", "collector", str(own)]
    assert certificates_due(settings, NOW, timedelta(days=10)) == []


def test_where_nothing_is_named_nothing_is_told(tmp_path: Path) -> None:
    assert certificates_due(Settings(), NOW) == []
    assert certificates_due(Settings(authority_dir=tmp_path), NOW) == []


def test_a_certificate_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(BrokerTlsError, match="cannot be read"):
        certificates_due(Settings(mqtt_cert_file=tmp_path / "none.crt"), NOW)
