"""Debounce with a ceiling: a burst of changes makes one document, and one without an end cannot put it off for ever."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import models, transaction

from durable_objects import AlarmInfo, exclusive, now
from durable_objects.models import DurableObject

QUIET = timedelta(seconds=10)
CEILING = timedelta(minutes=2)


class Product(models.Model):
    """Something to sell."""

    name = models.CharField(max_length=100)
    description = models.TextField(blank=True)

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store it and ask for its search document, both or neither."""
        with transaction.atomic():
            super().save(*args, **kwargs)
            Reindex.objects.get_by_name(str(self.pk)).request()


class SearchDocument(models.Model):
    """What the search reads: too dear to be made at each change of the product."""

    product = models.OneToOneField(Product, on_delete=models.CASCADE, primary_key=True)
    words = models.TextField()

    def __str__(self) -> str:
        return str(self.product)


class Reindex(DurableObject):
    """The next search document of one product, by the primary key."""

    class Meta:
        proxy = True
        verbose_name_plural = "reindexes"

    @exclusive
    def request(self) -> None:
        """Make the document when nothing has changed for ``QUIET``, but at most ``CEILING`` after the first change."""
        first = self.storage.get("first_change") or now()
        self.storage.put("first_change", first)
        self.storage.set_alarm(min(now() + QUIET, first + CEILING))

    def alarm(self, info: AlarmInfo) -> None:
        """Make the document; a product that is gone by now has none."""
        self.storage.delete("first_change")
        product = Product.objects.filter(pk=self.name).first()
        if product is not None:
            words = " ".join(sorted({*product.name.lower().split(), *product.description.lower().split()}))
            SearchDocument.objects.update_or_create(product=product, defaults={"words": words})
