"""The rules about meters by name. Sources: `jcm-facts` 4.5, real findings of verifiers, and the rule behind them."""

from enum import Enum


class Effect(Enum):
    """What a rule does to the credit."""

    INFORMS = "informs"
    LOWERS = "lowers"
    EXCLUDES = "excludes"


class MeterRule(Enum):
    """What is told about a meter or an invoice, as (label, effect, what is counted, reason)."""

    DELAYED_CALIBRATION = (
        "delayed_calibration", Effect.LOWERS, "days",
        "no valid calibration covers the day: the permissible error is taken against the credit, for each register",
    )  # fmt: skip
    FAILED_CALIBRATION = (
        "failed_calibration", Effect.INFORMS, "calibrations",
        "the calibration found an error beyond the permissible one; over a delay before it the larger one is taken",
    )  # fmt: skip
    ERROR_NOT_DECLARED = (
        "error_not_declared", Effect.LOWERS, "days",
        "no permissible error is declared: the largest that can be is applied to the delay, an unconfirmed default",
    )  # fmt: skip
    NO_CALIBRATION_DECLARED = (
        "no_calibration_declared", Effect.INFORMS, "days",
        "the meter declares neither a calibration nor a maximum permissible error: there is no number to apply",
    )  # fmt: skip
    ERROR_NOT_STATED = (
        "error_not_stated", Effect.INFORMS, "calibrations",
        "a calibration after a delay does not state the error it found; it is taken to be within the permissible one",
    )  # fmt: skip
    NO_CERTIFICATE = (
        "no_certificate", Effect.INFORMS, "calibrations",
        "a calibration that the period rests on has no certificate or no laboratory",
    )  # fmt: skip
    NO_SERIAL_NUMBER = (
        "no_serial_number", Effect.INFORMS, "meters",
        "without a serial number a certificate cannot be told to belong to the meter",
    )  # fmt: skip
    REPLACEMENT_INCOMPLETE = (
        "replacement_incomplete", Effect.EXCLUDES, "registers",
        "the closing or the opening register of a replacement is missing: nothing is credited up to it",
    )  # fmt: skip
    REPLACEMENT_UNCALIBRATED = (
        "replacement_uncalibrated", Effect.INFORMS, "meters",
        "the old meter had no valid calibration when it was removed, or the new one none when it was installed",
    )  # fmt: skip
    ROLLED_OVER = (
        "rolled_over", Effect.INFORMS, "intervals",
        "the register passed its declared width; the width is part of the declaration",
    )  # fmt: skip
    WORSE_THAN_PLAN = (
        "worse_than_plan", Effect.INFORMS, "meters",
        "the meter may be further off than the monitoring plan allows",
    )  # fmt: skip
    CLASS_DIFFERS = (
        "class_differs", Effect.INFORMS, "meters",
        "the accuracy class is not the one of the monitoring plan; a change needs approval",
    )  # fmt: skip
    INTERVAL_DIFFERS = (
        "interval_differs", Effect.INFORMS, "meters",
        "readings come further apart than the monitoring plan has it",
    )  # fmt: skip
    CALCULATED = (
        "calculated", Effect.INFORMS, "meters",
        "the register is the sum of several fields: calculated, where the methodology says measured",
    )  # fmt: skip
    NOT_COUNTED = (
        "not_counted", Effect.INFORMS, "meters",
        "a meter of the system is declared and does not count in it",
    )  # fmt: skip
    INVOICE_DIFFERS = (
        "invoice_differs", Effect.INFORMS, "invoices",
        "metered and invoiced energy differ by more than the meter's accuracy",
    )  # fmt: skip
    INVOICE_OUTSIDE = (
        "invoice_outside", Effect.INFORMS, "invoices",
        "the billing cycle reaches beyond the period: it cannot be held against the meter",
    )  # fmt: skip
    INVOICE_APPLIED = (
        "invoice_applied", Effect.LOWERS, "invoices",
        "monitoring option B: of the metered and the invoiced energy the one that credits less counts",
    )  # fmt: skip
    NOT_INVOICED = (
        "not_invoiced", Effect.EXCLUDES, "days",
        "monitoring option B: no invoice covers the day, so nothing of it is credited",
    )  # fmt: skip

    def __init__(self, label: str, effect: Effect, counts: str, reason: str) -> None:
        self.id = f"meter.{label}@1"
        self.effect = effect
        self.counts = counts
        self.reason = reason


METER_RULES = tuple(rule.id for rule in MeterRule)
