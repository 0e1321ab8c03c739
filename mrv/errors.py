"""What can be wrong on the way from rows to tonnes."""


class MrvError(Exception):
    """A result cannot be computed as asked."""


class SeriesError(MrvError):
    """A series of register readings cannot be used."""


class RegisterSpecError(MrvError):
    """A register is described by numbers that cannot be."""


class CalendarError(MrvError):
    """A day, a range of days or a time zone cannot be used."""


class WrongUseError(MrvError):
    """The question itself is wrong, such as FROM after TO; the command line exits 2."""


class CatalogueError(MrvError):
    """A methodology or its factor is not in the catalogue."""


class FormulaError(MrvError):
    """A formula cannot be computed from what it was given."""


class ImplausibleError(MrvError):
    """An energy is more than the capacity can make in the time."""


class PeriodError(MrvError):
    """A monitoring period cannot be computed or frozen as asked."""


class RecomputeError(MrvError):
    """A frozen revision does not recompute to what was stored."""


class ClaimLostError(MrvError):
    """A piece of work is no longer this replica's."""


class RegistryError(MrvError):
    """What is to be handed over to a registry does not hold together."""
