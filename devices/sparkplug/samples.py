"""From the metrics of one message to samples: names, datatypes, times."""

from datetime import datetime

from devices.sparkplug.node import Definitions, Event, Occurrence, Rejection, Sample
from devices.sparkplug.payload import (
    EPOCH,
    SELF_DESCRIBING,
    DataType,
    Metric,
    Payload,
    Reason,
    SparkplugError,
    Value,
    value_of,
)

BD_SEQ = "bdSeq"
_OF_THE_PROTOCOL = ("Node Control/", "Device Control/")
_BAD, _STALE = 0, 500
_NO_VALUE = {
    Reason.VALUE_NOT_FINITE: Occurrence.VALUE_NOT_FINITE,
    Reason.VALUE_UNSUPPORTED: Occurrence.VALUE_UNSUPPORTED,
}
# What a new birth may put right; the others would come back the same.
_REBIRTH_HELPS = {Reason.ALIAS_UNKNOWN, Reason.DATATYPE_CONTRADICTED, Reason.DATATYPE_UNKNOWN}
_SHOWN = 3


class Sampler:
    """Takes the metrics of one message and remembers what was wrong with them.

    Parameters
    ----------
    definitions
        Of the last birth; of this message, when it is a birth itself.
    aliases
        Whether the definitions' aliases may be used: not after a death, for the next session may give them anew.
    """

    def __init__(self, definitions: Definitions, *, aliases: bool, birth: bool) -> None:
        self._definitions = definitions
        self._names = definitions.names if aliases and not birth else {}
        self._known = bool(definitions.types) and not birth
        self._events: dict[Occurrence, list[str]] = {}
        self._rejected: dict[Reason, list[str]] = {}
        self.rebirth = False

    @property
    def events(self) -> list[Event]:
        """One for each kind of oddity, with the metrics it befell."""
        return [Event(code, _listed(metrics)) for code, metrics in self._events.items()]

    @property
    def rejections(self) -> list[Rejection]:
        """One for each reason, with the metrics it befell."""
        return [Rejection(reason, _listed(metrics)) for reason, metrics in self._rejected.items()]

    def samples(self, payload: Payload) -> tuple[Sample, ...]:
        """Group the values of a message by their own times."""
        groups: dict[tuple[datetime | None, bool, int], dict[str, Value]] = {}
        given: dict[tuple[datetime | None, bool, str], tuple[int, Value]] = {}
        for metric in payload.metrics:
            try:
                found = self._named_value(metric, payload)
            except SparkplugError as error:
                self._reject(error.reason, metric)
                continue
            if found is None:
                continue
            name, value, time = found
            key = (time, metric.is_historical, name)
            times, before = given.get(key, (0, None))
            if times and type(before) is type(value) and before == value:
                continue
            # A second value for the same instant is another sample, not a replacement: the store shows the conflict.
            groups.setdefault((time, metric.is_historical, times), {})[name] = value
            given[key] = (times + 1, value)
        samples = [Sample(time, historical, values) for (time, historical, _), values in groups.items()]
        return tuple(sorted(samples, key=lambda sample: (sample.time is None, sample.time or EPOCH)))

    def _named_value(self, metric: Metric, payload: Payload) -> tuple[str, Value, datetime | None] | None:
        if metric.fault:
            raise SparkplugError(metric.fault, "")
        name = self._name(metric)
        if name == BD_SEQ or name.startswith(_OF_THE_PROTOCOL):
            return None
        if metric.is_transient:
            self._note(Occurrence.TRANSIENT_LEFT_OUT, name)
            return None
        time = metric.timestamp or payload.timestamp
        if time is None and payload.time_absurd:
            raise SparkplugError(Reason.TIME_ABSURD, "")
        return name, self._value(metric, name), time

    def _name(self, metric: Metric) -> str:
        told = self._names.get(metric.alias) if metric.alias is not None else None
        if metric.name:
            if told not in {None, metric.name}:
                self._note(Occurrence.ALIAS_CONTRADICTED, metric.name)
                self.rebirth = True
            elif self._known and metric.name not in self._definitions.types:
                # mqtt-spb-wrapper is born with "DATA/Inverter/temp" and sends "Inverter/temp": no rebirth mends that.
                self._note(Occurrence.NAME_UNKNOWN, metric.name)
            return metric.name
        if told is None:
            raise SparkplugError(Reason.NAME_MISSING if metric.alias is None else Reason.ALIAS_UNKNOWN, "")
        return told

    def _value(self, metric: Metric, name: str) -> Value:
        if metric.is_null:
            return None
        if metric.field is None or metric.quality in {_BAD, _STALE}:
            self._note(Occurrence.VALUE_MISSING if metric.field is None else Occurrence.QUALITY_NOT_GOOD, name)
            return None
        try:
            return self._typed(metric, name, self._definitions.types.get(name))
        except SparkplugError as error:
            if error.reason not in _NO_VALUE:
                raise
            self._note(_NO_VALUE[error.reason], name)
            return None

    def _typed(self, metric: Metric, name: str, born: DataType | None) -> Value:
        """Read the value as the birth said; where the message disagrees, only when there is no doubt."""
        said = metric.datatype
        if born is None or said == born:
            return value_of(metric, said if born is None else born)
        if not metric.name:
            # Nothing but the alias says whose value this is. If it were of the wrong type, it is of another metric.
            if said is not None:
                raise SparkplugError(Reason.DATATYPE_CONTRADICTED, "")
            return value_of(metric, born)
        try:
            value = value_of(metric, born)
        except SparkplugError as error:
            plain = error.reason is Reason.DATATYPE_CONTRADICTED and metric.field in SELF_DESCRIBING
            if said is None and not plain:
                raise
            # A Python client is born with 0, an Int64, and goes on with 12.5, a Double.
            value = value_of(metric, said)
        else:
            if said is None:
                return value
            if _differs(metric, said, value):
                raise SparkplugError(Reason.DATATYPE_CONTRADICTED, "")
        self._note(Occurrence.DATATYPE_CHANGED, name)
        return value

    def _born_untyped(self, metric: Metric) -> bool:
        name = metric.name or self._names.get(metric.alias if metric.alias is not None else -1, "")
        return self._definitions.types.get(name, DataType.UNKNOWN) is None

    def _note(self, code: Occurrence, name: str) -> None:
        self._events.setdefault(code, []).append(_short(name))

    def _reject(self, reason: Reason, metric: Metric) -> None:
        self.rebirth |= reason in _REBIRTH_HELPS and not self._born_untyped(metric)
        whose = _short(metric.name) if metric.name else "unnamed" if metric.alias is None else f"alias {metric.alias}"
        self._rejected.setdefault(reason, []).append(whose)


def defined(payload: Payload) -> tuple[Definitions, list[Event]]:
    """Read the definitions of a birth; an alias given to two names belongs to neither."""
    names: dict[int, str] = {}
    types: dict[str, DataType | None] = {}
    doubtful: set[int] = set()
    untyped: list[str] = []
    for metric in payload.metrics:
        if metric.name is None:
            continue
        types[metric.name] = metric.datatype
        if metric.datatype is None:
            untyped.append(_short(metric.name))
        if metric.alias is not None and names.setdefault(metric.alias, metric.name) != metric.name:
            doubtful.add(metric.alias)
    events = []
    if doubtful:
        events.append(Event(Occurrence.ALIAS_AMBIGUOUS, _listed([f"alias {alias}" for alias in sorted(doubtful)])))
    if untyped:
        events.append(Event(Occurrence.DATATYPE_MISSING, _listed(untyped)))
    return Definitions({alias: name for alias, name in names.items() if alias not in doubtful}, types), events


def bd_seq(payload: Payload) -> int | None:
    """Find the birth's or death's number; npm sparkplug-client puts it twice into a second NBIRTH."""
    for metric in payload.metrics:
        if metric.name == BD_SEQ and isinstance(metric.raw, int) and not metric.is_null:
            return int(metric.raw)
    return None


def _differs(metric: Metric, datatype: DataType, value: Value) -> bool:
    try:
        other = value_of(metric, datatype)
    except SparkplugError:
        return False
    return type(other) is not type(value) or other != value


def _listed(metrics: list[str]) -> str:
    more = f" and {len(metrics) - _SHOWN} more" if len(metrics) > _SHOWN else ""
    return ", ".join(metrics[:_SHOWN]) + more


def _short(name: str) -> str:
    return repr(name if len(name) <= 40 else f"{name[:40]}…")
