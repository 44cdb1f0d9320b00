"""Calls to somebody else's server: bounded in time, in how many threads wait for it, and posts in bytes too.

For the apps; nothing of the engine needs it, nor httpx, which comes with the extra ``outgoing``.
"""

from durable_objects.outgoing.addresses import ALLOWED, is_address, origin_of
from durable_objects.outgoing.client import Reply, post
from durable_objects.outgoing.deadline import Call, DeadlinePassed, TooManyCalls, bounded
from durable_objects.outgoing.proxies import ProxyUnusable

__all__ = [
    "ALLOWED",
    "Call",
    "DeadlinePassed",
    "ProxyUnusable",
    "Reply",
    "TooManyCalls",
    "bounded",
    "is_address",
    "origin_of",
    "post",
]
