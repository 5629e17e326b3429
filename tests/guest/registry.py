"""The list of scenarios, and what each of them uses."""
from vm import GuestError

SCENARIOS = []


def scenario(guest=None, kernels=("6.1", "6.12")):
    """`guest` names a guest of GUESTS; scenarios that follow each other and name the same one share it."""
    def add(function):
        function.guest, function.kernels = guest, kernels
        SCENARIOS.append(function)
        return function
    return add


def require(condition, message):
    if not condition:
        raise GuestError(message)
