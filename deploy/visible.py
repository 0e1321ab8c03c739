"""Text that is anybody's, such as a topic or a payload, as a person may look at it."""


def visible(text: str) -> str:
    """Show signs that a terminal would act on, or that no one would see."""
    return "".join(sign if sign.isprintable() or sign == "\n" else ascii(sign)[1:-1] for sign in text)
