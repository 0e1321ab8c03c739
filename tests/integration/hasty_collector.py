"""`jcm-mrv collect` that calls a thread stuck after a second, not after thirty, so that tests need not wait."""

import sys

from ingest import liveness

if __name__ == "__main__":
    assert liveness.live.__kwdefaults__ == {"stuck_s": liveness.STUCK_S}
    liveness.live.__kwdefaults__["stuck_s"] = 1.0
    sys.argv = ["jcm-mrv", "collect"]
    from deploy.cli import main

    main()
