"""Questions before a run that is long, paid or sends posts to a recipe's host; the verb ``hosts``."""

import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from hf_mner_aug.exceptions import UsageError
from hf_mner_aug.untrusted import hosts as known
from hf_mner_aug.untrusted.printable import say

if TYPE_CHECKING:
    from hf_mner_aug.transform import Method

AllowHost = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host",
        metavar="HOST",
        help="Allow a host of the recipe to receive posts and its key, on this machine from now on; repeatable.",
    ),
]


def hosts(
    forget: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="Ask again before this host is used; repeatable.")
    ] = None,
) -> None:
    """List the hosts that you have allowed to receive posts and keys on this machine."""
    for host in map(known.parse_host, forget or []):
        say(f"{host}: {'forgotten' if known.forget(host) else 'was not allowed'}")
    if not forget:
        say("\n".join(map(str, sorted(known.remembered()))) or "none")


def go_on(question: str = "Go on?") -> None:
    """Ask the user at a terminal; piped input is not an answer.

    Raises:
        UsageError: there is no terminal.
    """
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask in: pass --yes to go on")
    typer.confirm(question, abort=True)


def confirm_hosts(
    methods: Sequence["Method"],
    *,
    typed: Collection[str] = (),
    allowed: Sequence[str] | None = None,
    sends: bool = True,
) -> None:
    """Print the hosts that methods' parameters name; each needs the user's permission before anything is sent.

    The user is asked in a terminal only, so that piped input cannot answer.

    Args:
        methods: as recipes describe them.
        typed: parameters that the user typed in this call.
        allowed: the hosts of ``--allow-host``.
        sends: whether anything will be sent; if not, nobody is asked.

    Raises:
        HostNotAllowed: there is no terminal, and a host is not allowed.
        UsageError: an allowed host is not named by any method.
    """
    from hf_mner_aug.transform.costs import hosts_of

    named = {host: name for method in methods for name, host in hosts_of(method).items()}
    origins = {known.parse_host(host) for host in allowed or ()}
    if unknown := sorted(origins - {host.origin for host in named}):
        others = ", ".join(sorted(host.spelled for host in named)) or "none"
        raise UsageError(f"--allow-host {unknown[0]}: no recipe here sends anything there; hosts named: {others}")
    for host, name in named.items():
        say(f"{name} sends posts to {host}")
        if host.origin in origins:
            known.remember(*host)
        elif name in typed:
            known.allow(*host)
        elif not known.is_allowed(*host):
            if not sends:
                say(f"a run needs permission for this: --allow-host {host.spelled}")
                continue
            if not sys.stdin.isatty():
                known.require_allowed(*host)
            typer.confirm(f"The recipe names this host, not you. Allow {host.origin} on this machine?", abort=True)
            known.remember(*host)
