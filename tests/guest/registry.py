"""The list of scenarios, and what each of them uses."""
from vm import GuestError

SCENARIOS = []
GUESTS = {}  # by name: makes one, from a Context


def guest(name):
    """The guest that scenarios of that name share."""
    def add(function):
        GUESTS[name] = function
        return function
    return add


def scenario(guest_name=None, kernels=("6.1", "6.12")):
    """`guest_name` names one of GUESTS; scenarios that follow each other and name the same one share it."""
    def add(function):
        function.guest, function.kernels = guest_name, kernels
        SCENARIOS.append(function)
        return function
    return add


def require(condition, message):
    if not condition:
        raise GuestError(message)
