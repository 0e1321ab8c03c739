"""One file a device family; `devices.decoding.profile` says what it may contain."""
