"""Which certificates end before long, as far as the settings name them: for `status` and for alerts."""

from datetime import datetime, timedelta
from pathlib import Path

from deploy.authority import SOON, AuthorityFolder, Ending
from deploy.settings import Settings
from devices.tls import validity


def certificates_due(settings: Settings, now: datetime, within: timedelta = SOON) -> list[Ending]:
    """Tell what ends within a time, or has ended, the first first.

    Of the authority in `JCM_MRV_AUTHORITY_DIR` everything that is in use, and this process's own certificate for the
    broker. No key is read. Where neither is named, nothing is known, and nothing is told.

    Raises
    ------
    AuthorityError, BrokerTlsError
        A file that is named cannot be read.
    """
    found = []
    if settings.authority_dir is not None:
        found += AuthorityFolder(settings.authority_dir).endings(now, within)
    own = settings.mqtt_cert_file
    if own is not None:
        found += _own(own, now, within)
    return sorted(found, key=lambda one: one.ends)


def _own(certificate: Path, now: datetime, within: timedelta) -> list[Ending]:
    _, ends = validity(certificate)
    remedy = "`jcm-mrv device provision --collector --rotate`, then copy the new pair there"
    return [Ending("certificate", str(certificate), "", ends, remedy)] if ends - now <= within else []
