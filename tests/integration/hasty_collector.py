"""`jcm-mrv collect` that calls a thread stuck after seconds, not after thirty, so that tests need not wait."""

import sys

from ingest import liveness

if __name__ == "__main__":
    assert liveness.live.__kwdefaults__ == {"stuck_s": liveness.STUCK_S}
    # Longer than the second that an idle MQTT thread sleeps, and than a busy machine may let a thread wait.
    liveness.live.__kwdefaults__["stuck_s"] = 2.5
    sys.argv = ["jcm-mrv", "collect"]
    from deploy.cli import main

    main()
