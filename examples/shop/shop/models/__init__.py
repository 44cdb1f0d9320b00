"""What the shop has: rows, and the durable objects that act on them at their time."""

from shop.models.cart import Cart
from shop.models.nightly import DailyFigures, NightlyFigures
from shop.models.search import Product, Reindex, SearchDocument
from shop.models.trial import Customer, Trial, TrialOver

__all__ = [
    "Cart",
    "Customer",
    "DailyFigures",
    "NightlyFigures",
    "Product",
    "Reindex",
    "SearchDocument",
    "Trial",
    "TrialOver",
]
