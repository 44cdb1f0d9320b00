"""The guarded HTTP interface, a Django app of its own: tokens with scopes, limits, one form for every refusal.

A project installs ``"durable_objects.http"`` and puts its interface together with ``durable_objects.http.api``.
"""
