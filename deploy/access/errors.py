"""What can be wrong with who somebody is and what they may do."""

from deploy.errors import DeployError


class AccessError(DeployError):
    """An account, a grant or a token cannot be changed like this."""


class UnknownAccountError(AccessError):
    """There is no such account, token, grant, project or login; the message names what there is."""


class SignInError(AccessError):
    """Somebody could not be signed in; the message says what the provider or its token got wrong."""


class ProviderError(SignInError):
    """The OpenID Connect provider does not answer, or not as one."""
