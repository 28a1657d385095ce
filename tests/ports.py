"""Ports for programs that must be given one."""

import contextlib
import random
import socket

# Linux gives connections, and sockets that ask for any port, those from 32768. Kubernetes' node ports begin at 30000.
_RANGE = range(20000, 30000)


def find_ports(count: int) -> list[int]:
    """
    Different ports of 127.0.0.1 that nobody uses.

    They are free until the program binds them, so no other socket must get one by chance meanwhile: none of them is in
    the kernel's own range, and two test runs at the same time hardly choose the same.
    """
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        for port in random.sample(_RANGE, len(_RANGE)):
            each = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                each.bind(("127.0.0.1", port))
                found.append(port)
            if len(found) == count:
                return found
    raise AssertionError(f"of the ports from {_RANGE.start} to {_RANGE.stop - 1} fewer than {count} are free")
