"""All of it in admin: the durable objects with their storage, their alarm and its history."""

from django.contrib import admin

from durable_objects.admin import DurableObjectAdmin
from shop.models import Cart, Customer, DailyFigures, NightlyFigures, Product, Reindex, SearchDocument, Trial

admin.site.register([Customer, DailyFigures, Product, SearchDocument])
admin.site.register([Cart, NightlyFigures, Reindex, Trial], DurableObjectAdmin)
