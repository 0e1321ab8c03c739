"""The edge gateway: polls devices over Modbus, keeps what they said until the broker has it, and publishes it."""
