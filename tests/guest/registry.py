"""The list of scenarios, and what each of them uses."""
from vm import GuestError

SCENARIOS = []
LONGEST = 180  # seconds; the longest takes half of it. A machine that hangs does not get that far: see run
GUESTS = {}  # by name: makes one, from a Context


def guest(name):
    """The guest that scenarios of that name share."""
    def add(function):
        GUESTS[name] = function
        return function
    return add


def scenario(guest_name=None, kernels=("6.1", "6.12"), usually=None, minutes=None):
    """`guest_name` names one of GUESTS; scenarios that follow each other and name the same one share it. What says little about the guest's
    kernel runs `usually` on one of `kernels`, and on all if it is asked for by name. One that may take so many minutes runs only if it is
    asked for by name, and says something every two."""
    def add(function):
        function.guest, function.kernels = guest_name, kernels
        function.by_default = () if minutes else (usually,) if usually else kernels
        function.longest = minutes * 60 if minutes else LONGEST
        SCENARIOS.append(function)
        return function
    return add


def require(condition, message):
    if not condition:
        raise GuestError(message)
