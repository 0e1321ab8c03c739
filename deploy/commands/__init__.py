"""One module a command; the module, the click command and what a person types have the same name."""
