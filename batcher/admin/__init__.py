"""Batchers, their batches and their upstreams in Django admin."""

from batcher.admin.batchers import BatcherAdmin
from batcher.admin.batches import BatchAdmin
from batcher.admin.upstreams import UpstreamAdmin

__all__ = ["BatchAdmin", "BatcherAdmin", "UpstreamAdmin"]
